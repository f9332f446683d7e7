-- Whose transactions hold locks on what stands in the schemas $1 and $2: the strongest locks first, then the oldest ones.
select a.pid, coalesce(a.usename, '?')::text, coalesce(a.application_name, ''),
       coalesce(extract(epoch from pg_catalog.clock_timestamp() - a.xact_start), 0)::double precision
  from pg_catalog.pg_stat_activity a
  join (
    select l.pid, bool_or(l.mode <> 'AccessShareLock') as strong
      from pg_catalog.pg_locks l
      join pg_catalog.pg_class c on c.oid = l.relation
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where l.locktype = 'relation' and l.granted and n.nspname in ($1, $2)
       and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
     group by l.pid) h on h.pid = a.pid
 where a.pid <> pg_catalog.pg_backend_pid()
 order by h.strong desc, a.xact_start
 limit 3
