-- outbox_bell_waits(): whether a transaction is open that may have inserted while the bell said "awake".
--
-- Asked by the keeper in a transaction after the one that set the bell: only who holds a lock on the outbox by then can
-- have read the older value. Until they are gone, the keeper goes on polling.
create or replace function outbox_bell_waits()
returns boolean
language sql volatile
set search_path from current
as $$
  select exists (
    select from pg_locks l
     where l.locktype = 'relation' and l.granted and l.mode = 'RowExclusiveLock'
       and l.database = (select d.oid from pg_database d where d.datname = current_database())
       and l.relation = $name$/*app.*/outbox$name$::regclass
       and l.pid is distinct from pg_backend_pid())
$$;
