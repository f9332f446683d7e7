-- outbox_relay_locks(): the keys of the advisory locks of one bigint that sessions of this database hold: those of living
-- relays are among them (outbox_relay_lock). Takes no lock itself: whoever only looks must not be taken for a relay.
create or replace function outbox_relay_locks()
returns bigint[]
language sql volatile
set search_path from current
as $$
  select coalesce(array_agg((l.classid::bigint << 32) | l.objid::bigint), '{}')
    from pg_locks l
   where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
     and l.database = (select d.oid from pg_database d where d.datname = current_database())
$$;
