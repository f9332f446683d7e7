-- What a relay depends on, as the server and the user are. One schema: that of the outbox. What the role outbox_relay
-- may use is asked for, if there is that role: something of the application's own may begin with outbox_ too.
select current_user::text, current_setting('server_version'), pg_is_in_recovery(),
       coalesce((select s.ssl from pg_stat_ssl s where s.pid = pg_backend_pid()), false),
       extract(epoch from clock_timestamp())::double precision,
       array(select p.oid::regprocedure::text
               from pg_proc p
               join pg_namespace n on n.oid = p.pronamespace
               left join pg_roles r on r.rolname = 'outbox_relay'
              where n.nspname = $1 and p.proname like 'outbox\_%'
                and (r.oid is null or has_function_privilege(r.oid, p.oid, 'execute'))
                and not has_function_privilege(p.oid, 'execute')
              order by 1),
       array(select c.oid::regclass::text
               from pg_class c
               join pg_namespace n on n.oid = c.relnamespace
               left join pg_roles r on r.rolname = 'outbox_relay'
              cross join unnest(array['select', 'insert', 'update', 'delete']) as wanted(privilege)
              where n.nspname = $1 and c.relkind in ('r', 'p') and c.relname like 'outbox%'
                and (r.oid is null and c.relname <> 'outbox_migration'
                     or has_table_privilege(r.oid, c.oid, wanted.privilege))
                and not has_table_privilege(c.oid, wanted.privilege)
              group by c.oid order by 1),
       pg_notification_queue_usage();
