-- For as long as this session lasts, the relay is there.
select pg_catalog.pg_advisory_lock(/*schema.*/outbox_relay_lock($1));
