-- For as long as this session lasts, the relay is there. Never waits: a session of the same relay that was cut off may
-- live on in the server for a while, and holds the lock as well. For how long, these settings say: a host that vanished
-- is missed after some 10 seconds, and not after the two hours that are usual. On a Unix socket they mean nothing.
select pg_catalog.pg_try_advisory_lock(/*schema.*/outbox_relay_lock($1)),
       pg_catalog.set_config('tcp_keepalives_idle', '5', false),
       pg_catalog.set_config('tcp_keepalives_interval', '2', false),
       pg_catalog.set_config('tcp_keepalives_count', '3', false),
       pg_catalog.set_config('tcp_user_timeout', '10000', false);
