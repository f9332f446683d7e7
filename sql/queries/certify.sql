-- Settles a boundary.
select /*schema.*/outbox_certify($1, $2, $3, $4, $5, $6, $7::text::jsonb, make_interval(secs => $8));
