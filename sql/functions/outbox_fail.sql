-- outbox_fail(task_id, error_class, error, outbox_id): a receipt that carries a failure: the worker gave the task up. The
-- row goes to outbox_dead with the reason, and does not go out again. True the first time, and the first time after an
-- operator retried it; a later call counts one more attempt, as does a failure after a retry, for as long as the row's
-- copy in outbox_held is kept. False also for a task that is unknown or forgotten: then only the receipt is kept. Of rows
-- that share the task id it means the one that outbox_id names, else the newest.
create or replace function /*app.*/outbox_fail(task_id uuid, error_class text, error text, outbox_id bigint default null)
returns boolean
language plpgsql volatile
security definer
set search_path from current
as $$
declare
  v_id  bigint;
  v_new boolean;
begin
  if task_id is null or error_class is null or error_class = '' or octet_length(error_class) > 200 then
    raise exception 'outbox_fail needs the id of a task and an error class of 1 to 200 bytes; got % and %',
      coalesce(task_id::text, 'NULL'), coalesce(left(error_class, 40), 'NULL') using errcode = '22023';
  end if;
  perform /*app.*/outbox_ack(task_id, outbox_id);
  with k as (
    select h.id, h.task_id, h.queue, h.task, h.args, h.kwargs, h.headers, h.body, h.priority, h.deliver_at,
           h.expires_at, h.created_at, coalesce(h.batch, h.was_batch) as batch, h.died
      from outbox_held h
     where h.task_id = outbox_fail.task_id and (outbox_fail.outbox_id is null or h.id = outbox_fail.outbox_id)
    union all
    select o.id, o.task_id, o.queue, o.task, o.args, o.kwargs, o.headers, o.body, o.priority, o.deliver_at,
           o.expires_at, o.created_at, outbox_batch_of(o.queue, o.id, o.xid), null
      from outbox_find(outbox_fail.task_id) f join /*app.*/outbox o on o.queue = f.queue and o.id = f.id
     where not exists (select from outbox_held h where h.id = f.id)
       and (outbox_fail.outbox_id is null or f.id = outbox_fail.outbox_id)),
  r as (
    select * from k
    union all
    -- Its dead record is all that is left of it.
    select d.id, d.task_id, d.queue, d.task, d.args, d.kwargs, d.headers, d.body, d.priority, d.deliver_at,
           d.expires_at, d.created_at, d.batch,
           jsonb_build_object('attempts', d.attempts, 'first_failed_at', d.first_failed_at)
      from outbox_dead d
     where d.task_id = outbox_fail.task_id and (outbox_fail.outbox_id is null or d.id = outbox_fail.outbox_id)
       and not exists (select from k where k.id = d.id))
  insert into outbox_dead as d (id, task_id, queue, task, args, kwargs, headers, body, priority, deliver_at, expires_at,
                                created_at, batch, error_class, error, attempts, first_failed_at)
  select r.id, r.task_id, r.queue, r.task, r.args, r.kwargs, r.headers, r.body, r.priority, r.deliver_at, r.expires_at,
         r.created_at, r.batch, outbox_fail.error_class, left(coalesce(outbox_fail.error, ''), 10000),
         coalesce((r.died ->> 'attempts')::integer, 0) + 1,
         coalesce((r.died ->> 'first_failed_at')::timestamptz, clock_timestamp())
    from r order by r.id desc limit 1
      on conflict (id) do update
     set attempts = d.attempts + 1, last_failed_at = clock_timestamp(),
         error_class = excluded.error_class, error = excluded.error
  -- Nobody has updated a row that this statement inserted.
  returning d.id, d.xmax = 0 into v_id, v_new;
  -- A loss or an operator may have scheduled it again, and the relay not have planned it yet. Only if the dead record is
  -- this call's: one that a retry is taking away at this moment would leave the row nowhere.
  delete from outbox_held h where h.id = v_id and h.batch is null and h.incident is not null;
  return coalesce(v_new, false);
end
$$;
