-- The backend that serves this session at the moment.
select pg_catalog.pg_backend_pid()
