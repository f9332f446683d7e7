-- outbox_resume(queue): lets a queue go on that an operator paused or a relay stopped. False: no such queue. Rings.
create or replace function outbox_resume(p_queue text)
returns boolean
language plpgsql volatile
set search_path from current
set enable_seqscan = off
as $$
begin
  update outbox_queue q
     set paused = false, reason = null, paused_at = null,
         stopped_reason = null, stopped_by = null, stopped_at = null, resumes = q.resumes + 1,
         resumed_at = clock_timestamp()
   where q.queue = p_queue;
  if not found then
    -- One that no relay has seen yet waits for nothing.
    return exists (select from /*app.*/outbox o where o.queue = p_queue);
  end if;
  perform pg_notify('outbox', '');
  return true;
end
$$;
