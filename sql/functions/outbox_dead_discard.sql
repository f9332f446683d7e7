-- outbox_dead_discard(queue, ids, before): an operator gives dead rows up: their dead records go, and each task keeps a
-- receipt, as if its worker had acknowledged it, so that no loss brings it back. Rows that failed again after `before`
-- and rows that are not dead (any more) stay as they are. Answers how many were discarded.
create or replace function outbox_dead_discard(p_queue text, p_ids bigint[], p_before timestamptz)
returns bigint
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
declare
  v_ids bigint[];
begin
  perform set_config('lock_timeout', '5s', true);
  -- One retry or discard at a time: a row that is retried meanwhile must not get a receipt.
  insert into outbox_queue (queue) values (p_queue) on conflict do nothing;
  perform from outbox_queue q where q.queue = p_queue for update;

  -- Receipts before dead rows, as outbox_fail takes them. Kept for retention.max from now.
  insert into outbox_receipt as r (task_id, outbox_id, acked_at, acked_row)
  select d.task_id, d.id, clock_timestamp(), d.id from outbox_dead d
   where d.queue = p_queue and d.id = any(p_ids) and d.last_failed_at <= p_before
   order by d.task_id, d.id
      on conflict on constraint outbox_receipt_pkey do update set acked_at = excluded.acked_at, acked_row = excluded.acked_row;
  with gone as (
    delete from outbox_dead d where d.queue = p_queue and d.id = any(p_ids) and d.last_failed_at <= p_before
    returning d.id)
  select array_agg(g.id) into v_ids from gone g;

  -- What waits to be planned does not go out. One that was never published is cancelled: the relay may yet meet it in the log.
  update outbox_held h set cancelled_at = clock_timestamp()
   where h.id = any(v_ids) and h.batch is null and h.incident is null and h.cancelled_at is null;
  delete from outbox_held h
   where h.id = any(v_ids) and h.batch is null and h.incident is not null and h.cancelled_at is null;
  return coalesce(cardinality(v_ids), 0);
end
$$;
