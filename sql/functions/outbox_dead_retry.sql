-- outbox_dead_retry(queue, ids, before, by, asked): an operator's replay of dead rows: each is scheduled again under its task
-- id, due at once, as outbox_replay schedules a row that was dispatched; its dead record and the receipt that
-- outbox_fail left go, in this transaction. An expires_at that has passed is cleared: somebody wants it sent all the same.
--
-- Not retried: rows that failed again after `before`, that are not dead (any more), that outbox_once proves done, and
-- that were cancelled. Answers the incident that stands for the retry (NULL: nothing was retried), how many rows
-- were, and how many were left because they are done, and because they are cancelled. `asked` goes into the evidence.
create or replace function outbox_dead_retry(
  p_queue text, p_ids bigint[], p_before timestamptz, p_by text, p_asked jsonb)
returns table (incident bigint, rows bigint, done bigint, cancelled bigint)
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
declare
  v_now      timestamptz := clock_timestamp();
  v_newest   outbox_batch;
  v_ids      bigint[];
  v_copies   bigint;
  v_receipts bigint;
begin
  perform set_config('lock_timeout', '5s', true);
  -- One retry or discard at a time, and no plan meanwhile. A row can be dead in a queue that no relay has seen.
  insert into outbox_queue (queue) values (p_queue) on conflict do nothing;
  perform from outbox_queue q where q.queue = p_queue for update;
  select b.* into v_newest from outbox_batch b where b.queue = p_queue order by b.batch desc limit 1;

  -- Receipts before dead rows, as outbox_fail takes them: neither waits for the other for ever.
  perform from outbox_receipt t
    where t.task_id in (select d.task_id from outbox_dead d where d.queue = p_queue and d.id = any(p_ids))
    order by t.task_id, t.outbox_id for update;
  select array_agg(l.id) filter (where not l.done and not l.cancelled), count(*) filter (where l.done),
         count(*) filter (where l.cancelled and not l.done)
    into v_ids, done, cancelled
    from (select d.id,
                 exists (select from outbox_receipt t where t.task_id = d.task_id and t.once_row = d.id) as done,
                 exists (select from outbox_held h where h.id = d.id and h.cancelled_at is not null) as cancelled
            from outbox_dead d
           where d.queue = p_queue and d.id = any(p_ids) and d.last_failed_at <= p_before
           order by d.id
             for update) l;
  rows := coalesce(cardinality(v_ids), 0);
  if rows = 0 then
    return next;
    return;
  end if;

  insert into outbox_incident as i (queue, destination, cause, evidence, relay, position_before, newest)
  select p_queue, coalesce(max(t.destination), ''), 'operator', jsonb_build_object('retry', p_asked, 'by', p_by), p_by,
         (select k.position from outbox_checkpoint k where k.queue = p_queue order by k.checkpoint desc limit 1),
         coalesce(v_newest.batch, 0)
    from outbox_tenure t where t.queue = p_queue and t.cap is null
  returning i.incident into incident;

  -- One statement for a copy that is there and one that is not: outbox_trim or outbox_truncate may be at it.
  insert into outbox_held as h (id, task_id, queue, task, args, kwargs, headers, body, priority, deliver_at, expires_at,
                                created_at, due, incident, died)
  select d.id, d.task_id, d.queue, d.task, d.args, d.kwargs, d.headers, d.body, d.priority, d.deliver_at,
         case when d.expires_at > v_now then d.expires_at end, d.created_at, v_now, outbox_dead_retry.incident,
         jsonb_build_object('batch', d.batch, 'error_class', d.error_class, 'error', d.error, 'attempts', d.attempts,
                            'first_failed_at', d.first_failed_at, 'last_failed_at', d.last_failed_at,
                            'expires_at', d.expires_at, 'acked_at', t.acked_at, 'acked_as', t.outbox_id)
    from outbox_dead d
    left join lateral (select r.acked_at, r.outbox_id from outbox_receipt r
                        where r.task_id = d.task_id and r.acked_row = d.id order by r.outbox_id limit 1) t on true
   where d.id = any(v_ids)
     -- What the relay has not taken out of the log yet goes out from there.
     and not exists (select from /*app.*/outbox o where o.queue = p_queue and o.id = d.id and o.deliver_at is null
                                            and not outbox_passed(v_newest, o.id, o.xid))
   order by d.id
      on conflict (id) do update
     set batch = null, due = excluded.due, expires_at = excluded.expires_at, incident = excluded.incident,
         was_batch = h.batch, was_incident = h.incident, died = excluded.died
   where h.cancelled_at is null;
  get diagnostics v_copies = row_count;

  select count(distinct d.id) into v_receipts from outbox_dead d
    join outbox_receipt t on t.task_id = d.task_id and t.acked_row = d.id where d.id = any(v_ids);
  -- One that outbox_once left for another row of the same task id stays.
  update outbox_receipt t set acked_at = null, acked_row = null from outbox_dead d
   where d.id = any(v_ids) and t.task_id = d.task_id and t.acked_row = d.id and t.once_at is not null;
  delete from outbox_receipt t using outbox_dead d
   where d.id = any(v_ids) and t.task_id = d.task_id and t.acked_row = d.id;
  delete from outbox_dead d where d.id = any(v_ids);
  -- A worker had those that left a receipt; the others never reached one.
  update outbox_incident i set scheduled = v_copies, outstanding = v_copies, duplicates_possible = least(v_receipts, v_copies)
   where i.incident = outbox_dead_retry.incident;
  perform pg_notify('outbox', '');
  return next;
end
$$;
