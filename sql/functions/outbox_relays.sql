-- outbox_relays(): what Postgres knows of relays. alive: how many have a session that listens at this moment. polls:
-- whether one that cannot listen (behind a pooler) held a queue last; it holds no lock, so nobody can tell whether it
-- lives. last_ms: for how long no relay has written anything (NULL: none ever did); an idle one writes nothing.
create or replace function outbox_relays()
returns table (alive bigint, polls boolean, last_ms bigint)
language plpgsql volatile
set search_path from current
as $$
begin
  select count(distinct l.pid) into alive from pg_locks l
   where l.locktype = 'advisory' and l.objsubid = 2 and l.granted
     and l.classid::bigint = 1331984233 and l.objid::bigint = ('outbox_bell_seq'::regclass::oid::bigint & 2147483647)
     and l.database = (select d.oid from pg_database d where d.datname = current_database());
  polls := exists (select from outbox_tenure t where t.cap is null and not t.listens and t.relay <> '')
        or exists (select from outbox_lane n where not n.listens);
  select (extract(epoch from clock_timestamp() - max(greatest(b.at, c.at, t.at, n.since))) * 1000)::bigint into last_ms
    from outbox_queue q
    left join lateral (select b.at from outbox_batch b where b.queue = q.queue order by b.batch desc limit 1) b on true
    left join lateral (select c.at from outbox_checkpoint c where c.queue = q.queue order by c.checkpoint desc limit 1) c on true
    left join lateral (select t.opened_at as at from outbox_tenure t where t.queue = q.queue order by t.opened_at desc limit 1) t on true
    left join outbox_lane n on n.queue = q.queue;
  return next;
end
$$;
