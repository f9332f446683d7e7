-- What a relay depends on, as the server and the user are. One schema: that of the outbox.
select current_user::text, current_setting('server_version'), pg_is_in_recovery(),
       coalesce((select s.ssl from pg_stat_ssl s where s.pid = pg_backend_pid()), false),
       extract(epoch from clock_timestamp())::double precision,
       array(select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
              where n.nspname = $1 and p.proname like 'outbox\_%' and not has_function_privilege(p.oid, 'execute')
              order by 1),
       array(select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
              where n.nspname = $1 and c.relkind in ('r', 'p') and c.relname like 'outbox%'
                and c.relname <> 'outbox_migration'
                and not (has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert')
                         and has_table_privilege(c.oid, 'update') and has_table_privilege(c.oid, 'delete'))
              order by 1),
       pg_notification_queue_usage();
