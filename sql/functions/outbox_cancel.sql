-- outbox_cancel(task_id): cancels a task that has a deliver_at and is not planned yet. True: if this transaction
-- commits, the task will never be published; also when it was cancelled before. False: it may be published or already
-- was, has no deliver_at, or is unknown; nothing was changed. Its dedupe_key is free again.
-- Of rows that share the task id it cancels all that wait; then True says so of the newest.
--
-- Exact at any time: a row that is planned has its copy in outbox_held locked and marked by the planner, and one that
-- is cancelled here has it locked and marked by us. Where no copy is there yet, one is made, and whoever reads the log
-- meets it. Above READ COMMITTED that case raises 40001, because the ledger cannot be asked again: try again.
create or replace function /*app.*/outbox_cancel(task_id uuid)
returns boolean
language plpgsql volatile
security definer
set search_path from current
as $$
declare
  r      record;
  v_done boolean;
begin
  update outbox_held h set cancelled_at = clock_timestamp()
   where h.task_id = outbox_cancel.task_id and h.deliver_at is not null and h.batch is null and h.cancelled_at is null
     and h.incident is null;   -- one that is scheduled again was published before

  for r in
    select f.queue, f.id, f.xid from outbox_find(outbox_cancel.task_id) f
     where f.deliver_at is not null and not exists (select from outbox_held h where h.id = f.id)
  loop
    continue when outbox_batch_of(r.queue, r.id, r.xid) is not null;   -- passed, and its copy gone: done
    if current_setting('transaction_isolation') <> 'read committed' then
      raise exception 'outbox_cancel cannot tell yet whether % was planned: try again in a new transaction', outbox_cancel.task_id
        using errcode = '40001', hint = 'Or call it in a READ COMMITTED transaction.';
    end if;
    insert into outbox_held (id, task_id, queue, task, args, kwargs, headers, body, priority, deliver_at, expires_at,
                             created_at, due, cancelled_at)
    select o.id, o.task_id, o.queue, o.task, o.args, o.kwargs, o.headers, o.body, o.priority, o.deliver_at, o.expires_at,
           o.created_at, o.deliver_at, clock_timestamp()
      from /*app.*/outbox o
     where o.queue = r.queue and o.id = r.id
        on conflict (id) do nothing;
    if not found then
      -- The planner's copy came in between: wait for its row, and take it if it is not planned.
      update outbox_held h set cancelled_at = clock_timestamp()
       where h.id = r.id and h.batch is null and h.cancelled_at is null;
    elsif outbox_batch_of(r.queue, r.id, r.xid) is not null then
      -- It came and went in between: the task is done, and this copy tells a lie.
      delete from outbox_held h where h.id = r.id;
    end if;
  end loop;

  select h.cancelled_at is not null into v_done
    from (select f.id from outbox_find(outbox_cancel.task_id) f
          union
          select h.id from outbox_held h where h.task_id = outbox_cancel.task_id
          union
          select d.id from outbox_dead d where d.task_id = outbox_cancel.task_id) k
    left join outbox_held h on h.id = k.id
   order by k.id desc limit 1;
  if v_done then
    delete from outbox_dedupe d where d.task_id = outbox_cancel.task_id;
  end if;
  return coalesce(v_done, false);
end
$$;
