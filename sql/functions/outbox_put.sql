-- outbox_put(..): the ways in that are not the common one: a dedupe_key, a task id of the caller's own, a finished
-- message. Part of outbox_enqueue and outbox_enqueue_raw.
--
-- The same task_id twice makes two rows and two messages; only dedupe_key prevents a second one.
create or replace function outbox_put(
  queue text, task text, args jsonb, kwargs jsonb, headers jsonb, body bytea,
  deliver_at timestamptz, expires_at timestamptz, priority integer, dedupe_key text, task_id uuid)
returns uuid
language plpgsql volatile
set search_path from current
as $$
#variable_conflict use_variable
declare
  v_id    bigint;
  v_first uuid;
  v_now   timestamptz := clock_timestamp();
  v_ttl   interval;
begin
  -- A queue that outbox_refuse refuses below must not meet the key's table first.
  if dedupe_key is not null and octet_length(queue) between 1 and 200 then
    if octet_length(dedupe_key) not between 1 and 500 then
      raise exception 'dedupe_key must be 1 to 500 bytes; got %: pass a hash of what is longer', octet_length(dedupe_key)
        using errcode = '22023';
    end if;
    v_ttl := coalesce(nullif(current_setting('outbox.dedupe_ttl', true), ''), '1 day')::interval;
    if v_ttl <= interval '0' then
      raise exception 'outbox.dedupe_ttl must be longer than nothing, such as ''1 day''; got %', v_ttl using errcode = '22023';
    end if;

    -- The common duplicate costs one look: no row is locked, so duplicates do not wait for each other.
    select d.task_id into v_first from outbox_dedupe d
     where d.queue = outbox_put.queue and d.key = outbox_put.dedupe_key and d.expires_at > v_now;
    if found then
      return v_first;
    end if;
    if task_id is null then
      -- The reader's proof: the xid before the id, and a lock on the outbox before the id, because whoever holds none
      -- counts as not having taken one yet (outbox_open_after). The statement below may wait for a twin.
      lock table only /*app.*/outbox in row exclusive mode;
      perform pg_current_xact_id();
      v_id := nextval('outbox_id_seq');
      task_id := outbox_task_id(v_id);
    end if;
    insert into outbox_dedupe (queue, key, task_id, expires_at)
    values (queue, dedupe_key, task_id, v_now + v_ttl)
        on conflict on constraint outbox_dedupe_pkey do update
       set task_id = excluded.task_id, expires_at = excluded.expires_at
     where outbox_dedupe.expires_at <= v_now;
    if not found then
      -- A twin committed since the look above. Its row is locked by the statement above, so it is still there.
      select d.task_id into strict v_first from outbox_dedupe d
       where d.queue = outbox_put.queue and d.key = outbox_put.dedupe_key;
      return v_first;
    end if;
  end if;

  priority := case when priority between 0 and 9 then priority when priority is not null then -1 end;
  if task_id is null then
    insert into /*app.*/outbox (queue, task, args, kwargs, headers, body, priority, deliver_at, expires_at)
    values (queue, task, args, kwargs, headers, body, priority::smallint, deliver_at, expires_at)
    returning outbox.task_id into task_id;
  else
    insert into /*app.*/outbox (id, task_id, queue, task, args, kwargs, headers, body, priority, deliver_at, expires_at)
    values (coalesce(v_id, nextval('outbox_id_seq')), task_id, queue, task, args, kwargs, headers, body,
            priority::smallint, deliver_at, expires_at);
  end if;
  return task_id;
end
$$;
