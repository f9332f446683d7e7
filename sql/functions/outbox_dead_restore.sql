-- outbox_dead_restore(incident): takes back a retry of dead rows as far as the relay has not planned it: those rows are dead
-- again as they were, with the receipts that they had. A row whose worker has given it up since stays dead with that
-- reason. Part of outbox_replay_cancel, under its locks. Answers how many rows.
create or replace function outbox_dead_restore(p_incident bigint)
returns bigint
language plpgsql volatile
set search_path from current
as $$
declare
  v_kept bigint;
  v_gone bigint;
begin
  -- Receipts before dead rows, as outbox_fail takes them.
  insert into outbox_receipt as r (task_id, outbox_id, acked_at, acked_row)
  select h.task_id, (h.died ->> 'acked_as')::bigint, (h.died ->> 'acked_at')::timestamptz, h.id from outbox_held h
   where h.incident = p_incident and h.batch is null and h.cancelled_at is null and h.died ->> 'acked_at' is not null
   order by h.task_id, (h.died ->> 'acked_as')::bigint
      on conflict on constraint outbox_receipt_pkey do update
     set acked_at = excluded.acked_at, acked_row = excluded.acked_row where r.acked_row is null;
  insert into outbox_dead (id, task_id, queue, task, args, kwargs, headers, body, priority, deliver_at, expires_at,
                           created_at, batch, error_class, error, attempts, first_failed_at, last_failed_at)
  select h.id, h.task_id, h.queue, h.task, h.args, h.kwargs, h.headers, h.body, h.priority, h.deliver_at,
         (h.died ->> 'expires_at')::timestamptz, h.created_at, (h.died ->> 'batch')::bigint, h.died ->> 'error_class',
         h.died ->> 'error', (h.died ->> 'attempts')::integer, (h.died ->> 'first_failed_at')::timestamptz,
         (h.died ->> 'last_failed_at')::timestamptz
    from outbox_held h
   where h.incident = p_incident and h.batch is null and h.cancelled_at is null
   order by h.id
      on conflict (id) do nothing;
  -- A copy that was there before stands for its row again in the batch in which it did; the dead record holds the others.
  update outbox_held h
     set batch = h.was_batch, incident = h.was_incident, expires_at = (h.died ->> 'expires_at')::timestamptz, died = null
   where h.incident = p_incident and h.batch is null and h.was_batch is not null;
  get diagnostics v_kept = row_count;
  delete from outbox_held h where h.incident = p_incident and h.batch is null and h.cancelled_at is null;
  get diagnostics v_gone = row_count;
  return v_kept + v_gone;
end
$$;
