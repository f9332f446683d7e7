-- outbox_pause(queue, reason): stops a queue at the next batch boundary; its tasks wait in Postgres. A queue that only the
-- log names so far is paused before any relay sees it. False: no such queue.
create or replace function outbox_pause(p_queue text, p_reason text)
returns boolean
language plpgsql volatile
set search_path from current
set enable_seqscan = off
as $$
begin
  insert into outbox_queue (queue)
  select p_queue where exists (select from /*app.*/outbox o where o.queue = p_queue)
      on conflict do nothing;
  update outbox_queue q set paused = true, reason = p_reason, paused_at = clock_timestamp() where q.queue = p_queue;
  return found;
end
$$;
