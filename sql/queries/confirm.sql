-- A checkpoint of what was consumed.
select /*schema.*/outbox_confirm($1, $2, $3, $4, $5, $6::text::jsonb);
