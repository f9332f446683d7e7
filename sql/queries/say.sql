-- What a relay does about queues.
select /*schema.*/outbox_say($1, $2, $3, $4);
