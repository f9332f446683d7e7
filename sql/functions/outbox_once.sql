-- outbox_once(task_id, outbox_id): true the first time, in the worker's own transaction; false in every transaction after one
-- that got true and committed. With it, a task that is delivered again has no second effect. A second worker waits for
-- the first one's transaction: it gets true if that rolls back.
--
-- With outbox_id once for that row. Without it once for the task id, whatever the number of rows that have it.
create or replace function /*app.*/outbox_once(task_id uuid, outbox_id bigint default null)
returns boolean
language plpgsql volatile
security definer
set search_path from current
as $$
declare
  v_row bigint;
begin
  if task_id is null then
    raise exception 'task_id must be the id of a task; got NULL' using errcode = '22023';
  end if;
  v_row := outbox_receipt_row(outbox_once.task_id, outbox_once.outbox_id);
  insert into outbox_receipt as r (task_id, outbox_id, once_at, once_row)
  values (outbox_once.task_id, coalesce(outbox_once.outbox_id, 0), clock_timestamp(), v_row)
      on conflict on constraint outbox_receipt_pkey do update set once_at = excluded.once_at, once_row = excluded.once_row
   where r.once_at is null;
  if found then
    return true;
  end if;
  -- A later row of this task id has come to a worker, which leaves its effect out: that row is done, too.
  update outbox_receipt r set acked_at = clock_timestamp(), acked_row = v_row
   where r.task_id = outbox_once.task_id and r.outbox_id = coalesce(outbox_once.outbox_id, 0)
     and v_row is not null and r.once_row is distinct from v_row and r.acked_row is distinct from v_row;
  return false;
end
$$;
