-- Settles a boundary.
select scheduled, /*schema.*/outbox_duplicates($1)
  from /*schema.*/outbox_certify($1, $2, $3, $4, $5, $6, $7::text::jsonb, make_interval(secs => $8)) as scheduled;
