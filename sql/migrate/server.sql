-- What is there before a migration, in the application's schema $1 and the machinery's $2: the server's version, the user;
-- who owns the bookkeeping table; whether the log is there and ours, which is to say that a partition of it stands in $2;
-- the schema of another log whose partitions stand there; who else can create in $2; and what was not made by outboxd
-- among the names $3 of relations and the signatures $4 of functions in $1.
with machinery as (
  select n.oid, n.nspowner, n.nspacl from pg_catalog.pg_namespace n where n.nspname = $2),
books as (
  select c.relowner from pg_catalog.pg_class c join machinery m on m.oid = c.relnamespace where c.relname = 'outbox_migration'),
owner as (
  select coalesce((select b.relowner from books b),
                  (select r.oid from pg_catalog.pg_roles r where r.rolname = current_user)) as oid),
log as (
  select p.oid, n.nspname
    from pg_catalog.pg_class c
    join machinery m on m.oid = c.relnamespace
    join pg_catalog.pg_inherits i on i.inhrelid = c.oid
    join pg_catalog.pg_class p on p.oid = i.inhparent
    join pg_catalog.pg_namespace n on n.oid = p.relnamespace
   where c.relname = 'outbox_s0' and p.relname = 'outbox'),
creators as (
  select case r.rolname when 'pg_database_owner' then d.datdba else r.oid end as oid
    from machinery m
   cross join lateral (
     select m.nspowner as grantee
     union
     select a.grantee from pg_catalog.aclexplode(m.nspacl) a where a.privilege_type = 'CREATE') g
    left join pg_catalog.pg_roles r on r.oid = g.grantee
    join pg_catalog.pg_database d on d.datname = pg_catalog.current_database())
select
  pg_catalog.current_setting('server_version_num')::int,
  pg_catalog.current_setting('server_version'),
  current_user::text,
  (select pg_catalog.pg_get_userbyid(b.relowner)::text from books b),
  exists (select from log where nspname = $1),
  (select l.nspname::text from log l where l.nspname <> $1 limit 1),
  array(
    select coalesce(r.rolname::text, 'PUBLIC')
      from creators c left join pg_catalog.pg_roles r on r.oid = c.oid
     where c.oid is distinct from (select o.oid from owner o) and r.rolsuper is not true
     order by 1),
  array(
    select c.relname::text
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and c.relname = any($3)
       and (c.relowner <> (select o.oid from owner o) or not exists (select from books)
            or c.relname = 'outbox' and c.oid not in (select l.oid from log l))
     order by 1),
  array(
    select p.oid::pg_catalog.regprocedure::text
      from pg_catalog.unnest($4) s(signature)
      join pg_catalog.pg_namespace n on n.nspname = $1 and pg_catalog.has_schema_privilege(n.oid, 'usage')
      join pg_catalog.pg_proc p on p.pronamespace = n.oid and p.oid = pg_catalog.to_regprocedure(s.signature)
     where p.proowner <> (select o.oid from owner o)
     order by 1)
