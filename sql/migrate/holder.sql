-- Who holds the lock of a migration.
select l.pid, coalesce(a.usename, '?')::text, coalesce(a.application_name, '')
from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a using (pid)
where l.locktype = 'advisory' and l.granted and l.objsubid = 1
  and l.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
  and ((l.classid::bigint << 32) | l.objid::bigint) = $1
