-- Releases a lock of this session.
select pg_catalog.pg_advisory_unlock($1)
