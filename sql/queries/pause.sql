-- Stops a queue.
select /*schema.*/outbox_pause($1, $2);
