-- outbox_segment_needed(segment, age): whether a segment holds a row that is not done: one that the cursor of its
-- queue's batch outbox_done(queue, age) has not passed. Errs on the side of "needed": what an unfinished tick of that
-- cursor has passed counts as not passed. Exact when asked, in a statement of its own, under a lock that excludes writers.
create or replace function outbox_segment_needed(p_segment integer, p_age interval)
returns boolean
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  v_queue text;
  c       outbox_batch;
  v_found boolean;
begin
  select min(o.queue) into v_queue from /*app.*/outbox o where o.segment = p_segment;
  while v_queue is not null loop
    select b.* into c from outbox_batch b where b.queue = v_queue and b.batch = outbox_done(v_queue, p_age);
    if not found then
      return true;
    end if;
    select exists (select from /*app.*/outbox o
                    where o.segment = p_segment and o.queue = v_queue and o.id > c.tip)
        or exists (select from /*app.*/outbox o
                    where o.segment = p_segment and o.queue = v_queue and o.id > c.floor
                      and o.xid >= pg_snapshot_xmax(c.snap))
        or exists (select from /*app.*/outbox o
                    where o.segment = p_segment and o.queue = v_queue
                      and o.id > (select min(a) from unnest(c.open_after) a)
                      and o.xid = any(array(select pg_snapshot_xip(c.snap))))
      into v_found;
    if v_found then
      return true;
    end if;
    select min(o.queue) into v_queue from /*app.*/outbox o where o.segment = p_segment and o.queue > v_queue;
  end loop;
  return false;
end
$$;
