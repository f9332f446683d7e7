-- Takes a lock for as long as the session lasts, without waiting.
select pg_catalog.pg_try_advisory_lock($1)
