-- outbox_enqueue_raw(queue, body, headers, deliver_at, expires_at, priority, dedupe_key, task_id, task): enqueues a finished
-- message. The queue's format checks it before it goes out; one that the format refuses is in outbox_dead. Everything else
-- as outbox_enqueue. `task` is what it is called in lists; no worker sees it.
--
-- Of a Celery message, a name and an expires_at that are not given are taken from its headers.
create or replace function /*app.*/outbox_enqueue_raw(
  queue      text,
  body       bytea,
  headers    jsonb       default '{}',
  deliver_at timestamptz default null,
  expires_at timestamptz default null,
  priority   integer     default null,
  dedupe_key text        default null,
  task_id    uuid        default null,
  task       text        default '')
returns uuid
language plpgsql volatile
security definer
set search_path from current
as $$
declare
  v_headers jsonb;
  v_name    text;
  v_expires text;
begin
  if body is null then
    raise exception 'body must be the finished message as bytea; got NULL: for a task with arguments use outbox_enqueue'
      using errcode = '22023';
  end if;
  if task is null then
    raise exception 'task must be text; got NULL: leave it out for no name' using errcode = '22023';
  end if;
  if (task = '' or expires_at is null) and octet_length(body) between 2 and 16777216 and get_byte(body, 0) = 123 then
    begin
      v_headers := convert_from(body, 'UTF8')::jsonb -> 'headers';
      v_name := v_headers ->> 'task';
      v_expires := v_headers ->> 'expires';
      if task = '' and octet_length(v_name) <= 200 and v_name !~ '[[:cntrl:]]' then
        task := v_name;
      end if;
      -- Without an offset it is the worker's local time, which is not known here.
      if expires_at is null and v_expires ~ '^(19|[2-8][0-9])[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9]{2}:?[0-9]{2})$' then
        expires_at := v_expires::timestamptz;
      end if;
    exception when data_exception or program_limit_exceeded then
      -- No Celery message, or one that its format will refuse with a reason.
      null;
    end;
  end if;
  return outbox_put(queue, task, '[]'::jsonb, '{}'::jsonb, headers, body, deliver_at, expires_at, priority, dedupe_key, task_id);
end
$$;
