-- For as long as this session lasts, the relay is there. Never waits: a session of the same relay that was cut off may
-- live on in the server for hours, and holds the lock as well.
select pg_catalog.pg_try_advisory_lock(/*schema.*/outbox_relay_lock($1));
