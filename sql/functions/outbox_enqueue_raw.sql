-- outbox_enqueue_raw(queue, body, headers, deliver_at, expires_at, priority, dedupe_key, task_id): enqueues a finished
-- message, which goes out byte for byte. The queue's format checks it before it does; one that the format refuses is
-- in outbox_dead. Everything else as outbox_enqueue.
create or replace function /*app.*/outbox_enqueue_raw(
  queue      text,
  body       bytea,
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
begin
  if body is null then
    raise exception 'body must be the finished message as bytea; got NULL: for a task with arguments use outbox_enqueue'
      using errcode = '22023';
  end if;
  return outbox_put(queue, ''::text, '[]'::jsonb, '{}'::jsonb, headers, body, deliver_at, expires_at, priority, dedupe_key, task_id);
end
$$;
