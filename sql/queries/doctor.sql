-- What a relay depends on, as the server and the user are. $1 is the application's schema, $2 the machinery's. What the role
-- outbox_relay may use is asked for, if there is that role: something of the application's own may begin with outbox_ too.
with creators as (
  -- Who can create in the machinery's schema: its owner, and whom somebody gave the right.
  select case r.rolname when 'pg_database_owner' then d.datdba else r.oid end as oid
    from pg_namespace n
   cross join lateral (
     select n.nspowner as grantee
     union
     select a.grantee from aclexplode(n.nspacl) a where a.privilege_type = 'CREATE') g
    left join pg_roles r on r.oid = g.grantee
    join pg_database d on d.datname = current_database()
   where n.nspname = $2)
select current_user::text, current_setting('server_version'), pg_is_in_recovery(),
       coalesce((select s.ssl from pg_stat_ssl s where s.pid = pg_backend_pid()), false),
       extract(epoch from clock_timestamp())::double precision,
       array(select p.oid::regprocedure::text
               from pg_proc p
               join pg_namespace n on n.oid = p.pronamespace
               left join pg_roles r on r.rolname = 'outbox_relay'
              where n.nspname in ($1, $2) and p.proname like 'outbox\_%'
                and (r.oid is null or has_function_privilege(r.oid, p.oid, 'execute'))
                and not has_function_privilege(p.oid, 'execute')
              order by 1),
       array(select c.oid::regclass::text
               from pg_class c
               join pg_namespace n on n.oid = c.relnamespace
               left join pg_roles r on r.rolname = 'outbox_relay'
              cross join pg_catalog.unnest(array['select', 'insert', 'update', 'delete']) as wanted(privilege)
              where n.nspname in ($1, $2) and c.relkind in ('r', 'p') and c.relname like 'outbox%'
                and (r.oid is null and c.relname <> 'outbox_migration'
                     or has_table_privilege(r.oid, c.oid, wanted.privilege))
                and not has_table_privilege(c.oid, wanted.privilege)
              group by c.oid order by 1),
       pg_notification_queue_usage(),
       array(select coalesce(r.rolname::text, 'PUBLIC')
               from creators c left join pg_roles r on r.oid = c.oid
              where r.rolsuper is not true
                and c.oid is distinct from (select b.relowner from pg_class b join pg_namespace n on n.oid = b.relnamespace
                                             where n.nspname = $2 and b.relname = 'outbox_migration')
              order by 1),
       current_setting('server_encoding');
