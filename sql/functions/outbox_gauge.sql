-- outbox_gauge(): numbers per queue for operators. pending counts the rows that are not dispatched, and those that are
-- scheduled again (held rows excluded): exactly up to 10,000, and an estimate (marked) above, so that looking stays cheap.
-- consumed is the batch at or below which every row but `outstanding` ones is consumed, NULL where it is not tracked;
-- incidents counts those that are open.
create or replace function outbox_gauge()
returns table (queue text, pending bigint, estimated boolean, oldest_ms bigint, held bigint, dead bigint,
               newest bigint, reached bigint, paused boolean, reason text,
               stopped_reason text, stopped_by text, stopped_at timestamptz, relay text,
               consumed bigint, outstanding integer, confirmed_at timestamptz, incidents bigint)
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set jit = off
as $$
declare
  v_all constant bigint := 9223372036854775807;
  v_id  bigint := coalesce(pg_sequence_last_value('outbox_id_seq'::regclass), 0);
begin
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
           b.batch, p.position, k.paused, k.reason, k.stopped_reason, k.stopped_by, k.stopped_at, b.relay,
           p.consumed, cardinality(p.outstanding),
           (select c.at from outbox_checkpoint c
             where c.queue = k.queue and c.consumed is not null and c.evidence <> 'marker'
             order by c.checkpoint desc limit 1),
           (select count(*) from outbox_incident i
             where i.queue = k.queue and i.recovered_at is null and i.cancelled_at is null)
      from outbox_queue k
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
         where t.deliver_at is null) r
      cross join lateral (
        select count(*) as n, min(h.created_at) as oldest
          from (select h.created_at from outbox_held h
                 where h.queue = k.queue and h.batch is null and h.cancelled_at is null and h.incident is not null
                 limit 100000) h) a
     order by k.queue;
end
$$;
