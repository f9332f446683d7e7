-- outbox_undispatched(snap): the queues that hold a row which is visible in `snap` and not known to be dispatched (nor
-- dead nor expired: both pass the marker with their batch; held rows are copied away and do not count), and those with
-- rows that are scheduled again. `snap` is the
-- text of a pg_snapshot taken earlier, so that rows committed since then do not matter.
create or replace function outbox_undispatched(p_snap text)
returns table (queue text)
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set jit = off
as $$
declare
  v_all constant bigint := 9223372036854775807;
begin
  return query
    select n.queue
      from (select k.queue from outbox_queue k union select d.queue from outbox_known_in_log() d) n
      left join lateral (select c.position from outbox_checkpoint c where c.queue = n.queue
                          order by c.checkpoint desc limit 1) p on true
      left join lateral outbox_cursor_at(n.queue, coalesce(p.position, 0)) b on true
     where case when b.queue is null
                then exists (select from /*app.*/outbox o where o.queue = n.queue and pg_visible_in_snapshot(o.xid, p_snap::pg_snapshot))
                else exists (select from outbox_tick_rows(b, p_snap::pg_snapshot, v_all, v_all, 1)) end
        or exists (select from outbox_held h
                    where h.queue = n.queue and h.incident is not null and h.cancelled_at is null
                      and (h.batch is null or h.batch > coalesce(p.position, 0)))
     order by 1;
end
$$;
