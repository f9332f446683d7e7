-- outbox_once(task_id): true the first time, in the worker's own transaction; false in every transaction after one
-- that got true and committed. With it, a task that is delivered again has no second effect. A second worker waits for
-- the first one's transaction: it gets true if that rolls back.
create or replace function /*app.*/outbox_once(task_id uuid)
returns boolean
language plpgsql volatile
security definer
set search_path from current
as $$
begin
  if task_id is null then
    raise exception 'task_id must be the id of a task; got NULL' using errcode = '22023';
  end if;
  insert into outbox_receipt as r (task_id, once_at) values (outbox_once.task_id, clock_timestamp())
      on conflict on constraint outbox_receipt_pkey do update set once_at = excluded.once_at where r.once_at is null;
  return found;
end
$$;
