-- outbox_fail(task_id, error_class, error): a receipt that carries a failure: the worker gave the task up. The row goes to
-- outbox_dead with the reason, and does not go out again. True the first time; a later call counts one more attempt.
-- False also for a task that is unknown or forgotten: then only the receipt is kept.
create or replace function outbox_fail(task_id uuid, error_class text, error text)
returns boolean
language plpgsql volatile
security definer
set search_path from current
as $$
declare
  v_new boolean;
begin
  if task_id is null or error_class is null or error_class = '' or octet_length(error_class) > 200 then
    raise exception 'outbox_fail needs the id of a task and an error class of 1 to 200 bytes; got % and %',
      coalesce(task_id::text, 'NULL'), coalesce(left(error_class, 40), 'NULL') using errcode = '22023';
  end if;
  perform outbox_ack(task_id);
  with r as (
    select h.id, h.task_id, h.queue, h.task, h.args, h.kwargs, h.headers, h.body, h.priority, h.deliver_at,
           h.expires_at, h.created_at, h.batch from outbox_held h where h.task_id = outbox_fail.task_id
    union all
    select o.id, o.task_id, o.queue, o.task, o.args, o.kwargs, o.headers, o.body, o.priority, o.deliver_at,
           o.expires_at, o.created_at, outbox_batch_of(o.queue, o.id, o.xid)
      from outbox_find(outbox_fail.task_id) f join outbox o on o.queue = f.queue and o.id = f.id
     where not exists (select from outbox_held h where h.id = f.id))
  insert into outbox_dead as d (id, task_id, queue, task, args, kwargs, headers, body, priority, deliver_at, expires_at,
                                created_at, batch, error_class, error)
  select r.*, outbox_fail.error_class, left(coalesce(outbox_fail.error, ''), 10000)
    from r order by r.id desc limit 1
      on conflict (id) do update
     set attempts = d.attempts + 1, last_failed_at = clock_timestamp(),
         error_class = excluded.error_class, error = excluded.error
  returning d.attempts = 1 into v_new;
  -- A loss may have scheduled it again, and the relay not have planned it yet: the full row is in outbox_dead now.
  delete from outbox_held h where h.task_id = outbox_fail.task_id and h.batch is null and h.incident is not null;
  return coalesce(v_new, false);
end
$$;
