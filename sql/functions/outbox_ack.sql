-- outbox_ack(task_id, outbox_id): a receipt: the task is done, if this transaction commits. True the first time, false when
-- it had been acknowledged before. Two workers with the same task wait for each other.
--
-- It speaks for one row: see outbox_receipt_row. One without outbox_id moves to a newer row of that task id only when the
-- row before is gone.
create or replace function /*app.*/outbox_ack(task_id uuid, outbox_id bigint default null)
returns boolean
language plpgsql volatile
security definer
set search_path from current
as $$
begin
  if task_id is null then
    raise exception 'task_id must be the id of a task; got NULL' using errcode = '22023';
  end if;
  insert into outbox_receipt as r (task_id, outbox_id, acked_at, acked_row)
  values (outbox_ack.task_id, coalesce(outbox_ack.outbox_id, 0), clock_timestamp(),
          outbox_receipt_row(outbox_ack.task_id, outbox_ack.outbox_id))
      on conflict on constraint outbox_receipt_pkey do update
     set acked_at = excluded.acked_at, acked_row = excluded.acked_row
   where r.acked_at is null or (excluded.acked_row is not null and r.acked_row is distinct from excluded.acked_row);
  return found;
end
$$;
