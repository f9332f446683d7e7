-- Gives dead rows of one queue up.
select /*schema.*/outbox_dead_discard($1, $2, $3);
