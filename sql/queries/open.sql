-- Begins a tenure.
select status, trusted, done, newest, cause, scheduled, certified, incidents, checkpoint, facts::text,
       /*schema.*/outbox_duplicates($1)
  from /*schema.*/outbox_open($1, $2, $3, $4, $5, $6, $7, make_interval(secs => $8), $9, $10);
