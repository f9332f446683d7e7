-- outbox_enqueue(queue, task, args, kwargs, headers, deliver_at, expires_at, priority, dedupe_key, task_id): enqueues
-- a task with the caller's transaction. Answers its task id, which is what the worker sees.
--
-- With a dedupe_key that was used in this queue within its lifetime (one day, or the setting outbox.dedupe_ttl) it
-- inserts nothing and answers the first task's id; it waits for a transaction that is using the key at this moment.
-- Wrong input raises 22023 with a sentence. No savepoint, no lock, one statement: it never waits for anybody else.
create or replace function /*app.*/outbox_enqueue(
  queue      text,
  task       text,
  args       jsonb       default '[]',
  kwargs     jsonb       default '{}',
  headers    jsonb       default '{}',
  deliver_at timestamptz default null,
  expires_at timestamptz default null,
  priority   integer     default null,
  dedupe_key text        default null,
  task_id    uuid        default null)
returns uuid
language plpgsql volatile
security definer
set search_path from current
as $$
#variable_conflict use_variable
begin
  if dedupe_key is not null or task_id is not null then
    return outbox_put(queue, task, args, kwargs, headers, null::bytea, deliver_at, expires_at, priority, dedupe_key, task_id);
  end if;
  insert into /*app.*/outbox (queue, task, args, kwargs, headers, priority, deliver_at, expires_at)
  values (queue, task, args, kwargs, headers,
          (case when priority between 0 and 9 then priority when priority is not null then -1 end)::smallint,
          deliver_at, expires_at)
  returning outbox.task_id into task_id;
  return task_id;
end
$$;
