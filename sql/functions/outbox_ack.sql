-- outbox_ack(task_id): a receipt: the task is done, if this transaction commits. True the first time, false when it
-- had been acknowledged before. Two workers with the same task wait for each other.
create or replace function /*app.*/outbox_ack(task_id uuid)
returns boolean
language plpgsql volatile
security definer
set search_path from current
as $$
begin
  if task_id is null then
    raise exception 'task_id must be the id of a task; got NULL' using errcode = '22023';
  end if;
  insert into outbox_receipt as r (task_id, acked_at) values (outbox_ack.task_id, clock_timestamp())
      on conflict on constraint outbox_receipt_pkey do update set acked_at = excluded.acked_at where r.acked_at is null;
  return found;
end
$$;
