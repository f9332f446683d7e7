-- The tables of the outbox whose rows a policy may hide: from the user (`hidden`), from the functions that run as the
-- owner (`hidden_from_owner`). Two schemas: the application's, and that of the machinery. As for rights, what the role
-- outbox_relay may use is asked for: something of the application's own may begin with outbox, too.
select c.oid::regclass::text as name, current_user::text as "user",
       row_security_active(c.oid) as hidden,
       c.relforcerowsecurity and not (o.rolsuper or o.rolbypassrls) as hidden_from_owner
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_roles o on o.oid = c.relowner
  left join pg_roles r on r.rolname = 'outbox_relay'
 where n.nspname in ($1, $2) and c.relname like 'outbox%'
   and c.relkind in ('r', 'p') and c.relrowsecurity
   and (r.oid is null or c.relname = 'outbox_migration' or has_table_privilege(r.oid, c.oid, 'select'))
 order by 1;
