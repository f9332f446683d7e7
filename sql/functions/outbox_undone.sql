-- outbox_undone(segment, age): the rows of a segment that the cursor of their queue's batch outbox_done(queue, age) has
-- not passed, and whether they are planned nevertheless. Part of outbox_truncate; exact under its lock.
create or replace function outbox_undone(p_segment integer, p_age interval)
returns table (queue text, id bigint, planned boolean)
language plpgsql volatile
set search_path from current
set jit = off
as $$
declare
  v_queue text;
  c       outbox_batch;   -- done
  n       outbox_batch;   -- the newest
begin
  select min(o.queue) into v_queue from outbox o where o.segment = p_segment;
  while v_queue is not null loop
    select b.* into c from outbox_batch b where b.queue = v_queue and b.batch = outbox_done(v_queue, p_age);
    select b.* into n from outbox_batch b where b.queue = v_queue order by b.batch desc limit 1;
    return query
      select o.queue, o.id,
             coalesce(o.id <= n.tip and pg_visible_in_snapshot(o.xid, n.snap), false)
             or coalesce(o.id <= n.pos and pg_visible_in_snapshot(o.xid, n.t_snap), false)
        from outbox o
       where o.segment = p_segment and o.queue = v_queue
         and (c.queue is null or o.id > c.tip or not pg_visible_in_snapshot(o.xid, c.snap));
    select min(o.queue) into v_queue from outbox o where o.segment = p_segment and o.queue > v_queue;
  end loop;
end
$$;
