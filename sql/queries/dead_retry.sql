-- A retry of dead rows of one queue.
select incident, rows, done, cancelled from /*schema.*/outbox_dead_retry($1, $2, $3, $4, $5::text::jsonb);
