-- Takes back that there is such a queue.
select status, why from /*schema.*/outbox_forget($1, $2);
