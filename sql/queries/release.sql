-- Gives up the affinity of a relay that stops.
select /*schema.*/outbox_release($1);
