-- What is there before a migration: the server's version, the schema, its bookkeeping table and that table's owner.
select
  pg_catalog.current_setting('server_version_num')::int,
  pg_catalog.current_setting('server_version'),
  (select n.oid is not null from pg_catalog.pg_namespace n where n.nspname = $1) is true,
  (select pg_catalog.pg_get_userbyid(c.relowner)::text
     from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = 'outbox_migration'),
  current_user::text
