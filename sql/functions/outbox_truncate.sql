-- outbox_truncate(segment, min_age, max_age): empties a sealed segment, never the current or the previous one, once
-- every row in it was dispatched min_age ago. Rows that are not done when the segment was sealed max_age ago move to
-- outbox_held, and go out from there: retention never drops a task. Answers truncated, moved or needed; raises
-- lock_not_available when somebody holds the segment (tried again later).
create or replace function outbox_truncate(p_segment integer, p_min_age interval, p_max_age interval)
returns text
language plpgsql volatile
set search_path from current
as $$
declare
  v_current integer := pg_sequence_last_value('outbox_segment_seq'::regclass);
  v_sealed  timestamptz;
  v_overdue boolean;
begin
  if p_segment in (v_current, (v_current + 7) % 8) then
    return 'needed';
  end if;
  select s.sealed_at into v_sealed from outbox_segment s where s.segment = p_segment;
  v_overdue := v_sealed is null or v_sealed < clock_timestamp() - p_max_age;
  if not v_overdue and outbox_segment_needed(p_segment, p_min_age) then
    return 'needed';
  end if;

  -- Whoever waits behind this lock is a producer that chose the segment long ago: it waits for some 10 ms at most.
  perform set_config('lock_timeout', '10ms', true);
  execute format('lock table outbox_s%s in access exclusive mode', p_segment);
  -- A new statement, hence a new snapshot: a row committed between the first look and the lock is seen here.
  if outbox_segment_needed(p_segment, p_min_age) then
    if not v_overdue then
      return 'needed';
    end if;
    insert into outbox_held (id, task_id, queue, task, args, kwargs, headers, body, priority, deliver_at, expires_at,
                             created_at, due)
    select o.id, o.task_id, o.queue, o.task, o.args, o.kwargs, o.headers, o.body, o.priority, o.deliver_at, o.expires_at,
           o.created_at, coalesce(o.deliver_at, o.created_at)
      from outbox o
      left join outbox_batch c on c.queue = o.queue and c.batch = outbox_done(o.queue, p_min_age)
     where o.segment = p_segment
       and (c.queue is null or o.id > c.tip or not pg_visible_in_snapshot(o.xid, c.snap))
        on conflict (id) do nothing;
    execute format('truncate table outbox_s%s', p_segment);
    update outbox_segment set truncated_at = clock_timestamp() where segment = p_segment;
    return 'moved';
  end if;
  execute format('truncate table outbox_s%s', p_segment);
  update outbox_segment set truncated_at = clock_timestamp() where segment = p_segment;
  return 'truncated';
end
$$;
