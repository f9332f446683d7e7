-- For as long as this session lasts, the relay is there. A host that vanished is missed after some 10 seconds, as these
-- settings say, and not after the two hours that are usual. On a Unix socket they mean nothing.
select /*schema.*/outbox_sign_in($1),
       pg_catalog.set_config('tcp_keepalives_idle', '5', false),
       pg_catalog.set_config('tcp_keepalives_interval', '2', false),
       pg_catalog.set_config('tcp_keepalives_count', '3', false),
       pg_catalog.set_config('tcp_user_timeout', '10000', false);
