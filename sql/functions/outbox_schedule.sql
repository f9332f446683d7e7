-- outbox_schedule(queue, ids, incident): lets rows that were published before be planned again, as batches of kind ids,
-- in the order of their ids. Rows that a receipt proves consumed, dead and cancelled ones, and those that wait
-- to be planned already stay as they are. Answers how many were scheduled.
--
-- What calls this writes in the same transaction why the rows are needed: neither can be there without the other.
create or replace function outbox_schedule(p_queue text, p_ids bigint[], p_incident bigint)
returns bigint
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
declare
  v_now    timestamptz := clock_timestamp();
  v_copies bigint;
  v_rows   bigint;
begin
  update outbox_held h
     set batch = null, due = v_now, incident = p_incident, was_batch = h.batch, was_incident = h.incident
    from (select distinct u.id from unnest(p_ids) as u(id)) i
   where h.id = i.id and h.queue = p_queue and h.batch is not null and h.cancelled_at is null
     and not exists (select from outbox_receipt t where t.task_id = h.task_id and (t.acked_row = h.id or t.once_row = h.id))
     and not exists (select from outbox_dead d where d.id = h.id);
  get diagnostics v_copies = row_count;

  insert into outbox_held (id, task_id, queue, task, args, kwargs, headers, body, priority, deliver_at, expires_at,
                           created_at, due, incident)
  select o.id, o.task_id, o.queue, o.task, o.args, o.kwargs, o.headers, o.body, o.priority, o.deliver_at, o.expires_at,
         o.created_at, v_now, p_incident
    from (select distinct u.id from unnest(p_ids) as u(id)) i
    join /*app.*/outbox o on o.queue = p_queue and o.id = i.id
   where not exists (select from outbox_held h where h.id = o.id)
     and not exists (select from outbox_receipt t where t.task_id = o.task_id and (t.acked_row = o.id or t.once_row = o.id))
     and not exists (select from outbox_dead d where d.id = o.id)
      on conflict (id) do nothing;
  get diagnostics v_rows = row_count;
  return v_copies + v_rows;
end
$$;
