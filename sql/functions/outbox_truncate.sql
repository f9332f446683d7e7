-- outbox_truncate(segment, min_age, max_age): empties a sealed segment, never the current or the previous one, once
-- every row in it was done min_age ago (see outbox_done); outstanding rows live on in outbox_held. When the segment was
-- sealed max_age ago, rows that were not dispatched move to outbox_held and go out from there, and rows that were, and
-- that nobody has consumed, stay needed there: retention never drops a task, and sends none twice. Answers truncated,
-- moved or needed; raises lock_not_available when somebody holds the segment (tried again later).
create or replace function outbox_truncate(p_segment integer, p_min_age interval, p_max_age interval)
returns text
language plpgsql volatile
set search_path from current
as $$
declare
  v_current integer := pg_sequence_last_value('outbox_segment_seq'::regclass);
  v_sealed  timestamptz;
  v_overdue boolean;
  -- Nobody can plan while rows are copied under the lock: this many take about half a second.
  v_most constant integer := 20000;
  v_stay    boolean;
  v_queues  text[];
  v_ids     bigint[];
  v_keep    boolean[];   -- the copy stands for the row in its batch; else it goes out from outbox_held
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'outbox_truncate needs READ COMMITTED, this transaction is %', current_setting('transaction_isolation')
      using errcode = '25001';
  end if;
  if p_segment in (v_current, (v_current + 7) % 8) then
    return 'needed';
  end if;
  select s.sealed_at into v_sealed from outbox_segment s where s.segment = p_segment;
  if v_sealed is null then
    -- A rotation moved the sequence and then failed: the age of what it sealed counts from now.
    update outbox_segment set sealed_at = clock_timestamp() where segment = p_segment;
    return 'needed';
  end if;
  v_overdue := v_sealed < clock_timestamp() - p_max_age;
  if outbox_segment_needed(p_segment, p_min_age) then
    if not v_overdue then
      return 'needed';
    end if;
    -- Before anybody has to wait.
    select bool_or(w.fate = 'wait') or count(*) > v_most into v_stay from outbox_overdue(p_segment, p_min_age) w;
    if v_stay then
      return 'needed';
    end if;
  end if;

  -- Whoever waits behind this lock is a producer that chose the segment long ago: it waits for some 10 ms at most.
  perform set_config('lock_timeout', '10ms', true);
  execute format('lock table outbox_s%s in access exclusive mode', p_segment);
  -- A new statement, hence a new snapshot: a row committed between the first look and the lock is seen here.
  if outbox_segment_needed(p_segment, p_min_age) then
    if not v_overdue then
      return 'needed';
    end if;
    select bool_or(w.fate = 'wait') or count(*) > v_most,
           array_agg(w.queue), array_agg(w.id), array_agg(w.fate = 'keep')
      into v_stay, v_queues, v_ids, v_keep
      from outbox_overdue(p_segment, p_min_age) w;
    if v_stay then
      return 'needed';
    end if;
    insert into outbox_held (id, task_id, queue, task, args, kwargs, headers, body, priority, deliver_at, expires_at,
                             created_at, due, batch)
    select o.id, o.task_id, o.queue, o.task, o.args, o.kwargs, o.headers, o.body, o.priority, o.deliver_at, o.expires_at,
           o.created_at, coalesce(o.deliver_at, o.created_at), case when w.keep then outbox_batch_of(o.queue, o.id, o.xid) end
      from unnest(v_queues, v_ids, v_keep) as w(queue, id, keep)
      join /*app.*/outbox o on o.segment = p_segment and o.queue = w.queue and o.id = w.id
        on conflict (id) do nothing;
    perform outbox_keep_outstanding(p_segment);
    execute format('truncate table outbox_s%s', p_segment);
    update outbox_segment set truncated_at = clock_timestamp() where segment = p_segment;
    return 'moved';
  end if;
  perform outbox_keep_outstanding(p_segment);
  execute format('truncate table outbox_s%s', p_segment);
  update outbox_segment set truncated_at = clock_timestamp() where segment = p_segment;
  return 'truncated';
end
$$;
