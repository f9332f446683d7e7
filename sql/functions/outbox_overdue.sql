-- outbox_overdue(segment, age): the rows of a segment that are not done (see outbox_done), and what is to become of each
-- once the segment is overdue:
--   move  no batch holds it; or one does that was never dispatched, and nothing of its queue was planned for `age`
--   keep  it was dispatched at least `age` ago and nobody has consumed it yet: its copy stands for it in its batch
--   wait  it was dispatched, or is about to be, and until that is `age` ago a loss may need it where it is: moved, it
--         would go out a second time
-- Exact under a lock that excludes planners and writers, in a statement begun under it.
create or replace function outbox_overdue(p_segment integer, p_age interval)
returns table (id bigint, queue text, fate text)
language plpgsql volatile
set search_path from current
set jit = off
as $$
declare
  v_queue   text;
  v_newest  outbox_batch;
  v_reached outbox_batch;
  v_done    outbox_batch;
  v_old     outbox_batch;   -- the newest batch that was dispatched `age` ago, where consumption is tracked
begin
  for v_queue in select k.queue from outbox_known_in_log() k loop
    select b.* into v_newest from outbox_batch b where b.queue = v_queue order by b.batch desc limit 1;
    select b.* into v_reached from outbox_batch b
     where b.queue = v_queue
       and b.batch = (select c.position from outbox_checkpoint c where c.queue = v_queue order by c.checkpoint desc limit 1);
    select b.* into v_done from outbox_batch b where b.queue = v_queue and b.batch = outbox_done(v_queue, p_age);
    select b.* into v_old from outbox_batch b
     where b.queue = v_queue and b.at < clock_timestamp() - p_age
       and b.batch <= (select case when c.consumed is not null then c.position end from outbox_checkpoint c
                        where c.queue = v_queue order by c.checkpoint desc limit 1)
     order by b.batch desc limit 1;
    return query
      select o.id, o.queue,
             case when not outbox_passed(v_newest, o.id, o.xid)
                    or (v_newest.at < clock_timestamp() - p_age and not outbox_passed(v_reached, o.id, o.xid)) then 'move'
                  when outbox_passed(v_old, o.id, o.xid) then 'keep'
                  else 'wait' end
        from /*app.*/outbox o
       where o.segment = p_segment and o.queue = v_queue and not outbox_passed(v_done, o.id, o.xid);
  end loop;
end
$$;
