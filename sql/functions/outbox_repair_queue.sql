-- outbox_repair_queue(queue, tip, horizon): moves what is not proven consumed to outbox_held, and starts the queue's cursor at
-- this moment, above `tip`. Part of outbox_repair, under its locks. Answers how many rows will go out again.
create or replace function outbox_repair_queue(p_queue text, p_tip bigint, p_horizon interval)
returns bigint
language plpgsql volatile
set search_path from current
set jit = off
as $$
declare
  k        outbox_checkpoint;
  c        outbox_batch;      -- everything at or below is consumed, but for the outstanding rows
  v_newest bigint;
  v_now    timestamptz := clock_timestamp();
  v_rows   bigint;
  v_incident bigint;
begin
  select e.* into k from outbox_checkpoint e where e.queue = p_queue order by e.checkpoint desc limit 1;
  select b.* into c from outbox_batch b
   where b.queue = p_queue and b.batch = coalesce(k.consumed, outbox_done(p_queue, p_horizon));
  select coalesce(max(b.batch), 0) into v_newest from outbox_batch b where b.queue = p_queue;

  insert into outbox_incident (queue, destination, cause, relay, position_before, position_trusted, newest)
  values (p_queue, coalesce((select t.destination from outbox_tenure t where t.queue = p_queue and t.cap is null), ''),
          'repair', current_user, k.position, c.batch, v_newest + 1)
  returning incident into v_incident;
  update outbox_held h set batch = null, due = least(h.due, v_now), incident = v_incident
   where h.queue = p_queue and h.cancelled_at is null
     and (h.batch > coalesce(c.batch, 0) or h.id = any(k.outstanding))
     and not exists (select from outbox_receipt t where t.task_id = h.task_id and (t.acked_row = h.id or t.once_row = h.id))
     and not exists (select from outbox_dead d where d.id = h.id);
  insert into outbox_held (id, task_id, queue, task, args, kwargs, headers, body, priority, deliver_at, expires_at,
                           created_at, due, incident)
  select o.id, o.task_id, o.queue, o.task, o.args, o.kwargs, o.headers, o.body, o.priority, o.deliver_at, o.expires_at,
         o.created_at, coalesce(o.deliver_at, v_now),
         -- A delayed row that has no copy was never planned: it is not sent again, and may be cancelled.
         case when o.deliver_at is null then v_incident end
    from /*app.*/outbox o
   where o.queue = p_queue
     and (not outbox_passed(c, o.id, o.xid) or o.id = any(k.outstanding))
     and not exists (select from outbox_receipt t where t.task_id = o.task_id and (t.acked_row = o.id or t.once_row = o.id))
     and not exists (select from outbox_dead d where d.id = o.id)
      on conflict (id) do nothing;
  select count(*) into v_rows from outbox_held h where h.incident = v_incident;

  -- Transactions that are open now and insert later take ids above the tip.
  insert into outbox_batch (queue, batch, kind, snap, tip, prev_tip, floor, open_after, rows, bytes, relay)
  select p_queue, v_newest + 1, 'log', s.snap, p_tip, p_tip, p_tip,
         array(select p_tip from pg_snapshot_xip(s.snap)), 0, 0, 'repair'
    from (select pg_current_snapshot() as snap) s;
  update outbox_tenure t set cap = v_newest, closed_at = v_now where t.queue = p_queue and t.cap is null;
  insert into outbox_checkpoint (queue, position, consumed, outstanding, evidence)
  values (p_queue, v_newest + 1, case when k.consumed is not null then v_newest + 1 end,
          case when k.consumed is not null then '{}'::bigint[] end, 'repair');
  update outbox_incident i set scheduled = v_rows, outstanding = v_rows, duplicates_possible = v_rows
   where i.incident = v_incident;
  delete from outbox_incident i where i.incident = v_incident and v_rows = 0;
  return v_rows;
end
$$;
