-- outbox_gauge(): numbers per queue for operators; queues that only the log names so far (seen = false) are among them.
--   state       what is done about the queue: a state of the metric outboxd_queue_state, as the relay that serves it
--               says and only while that relay lives; `new`: no relay has seen it; `no_relay`: none lives
--   why         the reason, where there is one
--   since       since when it is waiting, full or whatever its relay says
--   pending     rows that are not dispatched, and those that are scheduled again (held rows excluded): exactly up to
--               10,000, and an estimate (marked) above, so that looking stays cheap
--   unconsumed  rows that are dispatched and not known to be consumed; NULL where that is not tracked. Counted by batches,
--               the newest 10,000 at most, so rows that wait for a time count with their batch until it is confirmed
--   newest, reached, consumed   numbers of batches: the newest; the one that Redis is known to have; the one at or below
--               which every row but `outstanding` ones is consumed, NULL where that is not tracked
--   relay       the relay of the current tenure; lives: whether it does, NULL if nobody can tell
--   incidents   those that are open
create or replace function outbox_gauge()
returns table (queue text, pending bigint, estimated boolean, oldest_ms bigint, held bigint, dead bigint,
               newest bigint, reached bigint, paused boolean, reason text,
               stopped_reason text, stopped_by text, stopped_at timestamptz, relay text,
               consumed bigint, outstanding integer, confirmed_at timestamptz, incidents bigint,
               unconsumed bigint, lives boolean, state text, why text, since timestamptz, seen boolean)
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set jit = off
as $$
declare
  v_all     constant bigint := 9223372036854775807;
  v_id      bigint   := coalesce(pg_sequence_last_value('outbox_id_seq'::regclass), 0);
  v_alive   bigint[] := outbox_relay_locks();
  v_nobody  boolean;
begin
  select x.alive = 0 and not x.polls into v_nobody from outbox_relays() x;
  return query
    select k.queue,
           case when r.n > 10000 and r.last > r.first
                then 10000 + ((v_id - r.last) * (10000.0 / (r.last - r.first)))::bigint
                else r.n end + a.n,
           r.n > 10000,
           (extract(epoch from clock_timestamp()
                               - case when coalesce(r.oldest, a.oldest) is not null
                                      then greatest(least(r.oldest, a.oldest, clock_timestamp()), '1900-01-01 00:00:00+00') end)
            * 1000)::bigint,
           (select count(*) from (select from outbox_held h where h.queue = k.queue and h.batch is null
                                     and h.cancelled_at is null and h.incident is null limit 100000) x),
           (select count(*) from (select from outbox_dead d where d.queue = k.queue limit 100000) x),
           b.batch, p.position, k.paused, k.reason, k.stopped_reason, k.stopped_by, k.stopped_at, nullif(e.relay, ''),
           p.consumed, cardinality(p.outstanding),
           (select c.at from outbox_checkpoint c
             where c.queue = k.queue and c.consumed is not null and c.evidence <> 'marker'
             order by c.checkpoint desc limit 1),
           (select count(*) from outbox_incident i
             where i.queue = k.queue and i.recovered_at is null and i.cancelled_at is null),
           case when p.consumed is not null then cardinality(p.outstanding) + (
             select coalesce(sum(u.rows), 0) from (
               select o.rows from outbox_batch o
                where o.queue = k.queue and o.batch > p.consumed and o.batch <= p.position
                order by o.batch desc limit 10000) u)::bigint end,
           case when e.relay is null or e.relay = '' or not e.listens then null
                else outbox_relay_lock(e.relay) = any(v_alive) end,
           case when k.paused then 'paused'
                when k.stopped_reason is not null then 'stopped'
                when v_nobody then 'no_relay'
                when not k.seen then 'new'
                when l.said then n.state
                else 'idle' end,
           case when k.paused then k.reason
                when k.stopped_reason is not null then k.stopped_reason
                when l.said and not v_nobody then n.reason end,
           case when k.paused then k.paused_at
                when k.stopped_reason is not null then k.stopped_at
                when l.said and not v_nobody then n.since end,
           k.seen
      from (select q.queue, q.paused, q.reason, q.paused_at, q.stopped_reason, q.stopped_by, q.stopped_at, true as seen
              from outbox_queue q
            union all
            select d.queue, false, null, null, null, null, null, false from outbox_known_in_log() d
             where not exists (select from outbox_queue q where q.queue = d.queue)) k
      left join outbox_tenure e on e.queue = k.queue and e.cap is null
      left join outbox_lane n on n.queue = k.queue
      cross join lateral (select n.state is not null and (not n.listens or outbox_relay_lock(n.relay) = any(v_alive)) as said) l
      left join lateral (select c.* from outbox_checkpoint c where c.queue = k.queue
                          order by c.checkpoint desc limit 1) p on true
      left join lateral (select e.batch, e.relay from outbox_batch e where e.queue = k.queue
                          order by e.batch desc limit 1) b on true
      left join lateral outbox_cursor_at(k.queue, coalesce(p.position, 0)) c on true
      cross join lateral (
        select count(*) as n, min(t.id) as first, max(t.id) as last, min(t.created_at) as oldest
          from outbox_tick_rows(
                 case when c.queue is null
                      then row(k.queue, 0, 'log', null, '3:3:', 0, 0, 0, '{}', null, null, null, null, 0, 0, '', now())::outbox_batch
                      else c end,
                 pg_current_snapshot(), v_all, v_all, 10001) t
         where t.deliver_at is null
           -- Discarded: it is in a batch, and the marker passes it without a message.
           and not exists (select from outbox_held h where h.id = t.id and h.cancelled_at is not null)) r
      cross join lateral (
        select count(*) as n, min(h.created_at) as oldest
          from (select h.created_at from outbox_held h
                 where h.queue = k.queue and h.batch is null and h.cancelled_at is null and h.incident is not null
                 limit 100000) h) a
     order by k.queue;
end
$$;
