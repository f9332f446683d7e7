-- Records why a relay stopped a queue.
select /*schema.*/outbox_stopped($1, $2, $3)::text;
