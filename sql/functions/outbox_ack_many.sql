-- outbox_ack_many(task_ids): outbox_ack for many at once, in one statement. Answers how many had not been acknowledged
-- before. In the order of the ids, so that two workers whose sets overlap wait for each other instead of deadlocking.
create or replace function /*app.*/outbox_ack_many(task_ids uuid[])
returns integer
language plpgsql volatile
security definer
set search_path from current
as $$
declare
  v_new integer;
begin
  if task_ids is null or array_position(task_ids, null) is not null then
    raise exception 'task_ids must be an array of ids of tasks; got NULL, or one that holds NULL' using errcode = '22023';
  end if;
  insert into outbox_receipt as r (task_id, acked_at)
  select i.id, clock_timestamp() from (select distinct u.id from unnest(task_ids) as u(id) order by u.id) i
      on conflict on constraint outbox_receipt_pkey do update set acked_at = excluded.acked_at where r.acked_at is null;
  get diagnostics v_new = row_count;
  return v_new;
end
$$;
