-- outbox_pause(queue, reason): stops a queue at the next batch boundary; its tasks wait in Postgres. False: no such queue.
create or replace function outbox_pause(p_queue text, p_reason text)
returns boolean
language sql volatile
set search_path from current
as $$
  with changed as (
    update outbox_queue q set paused = true, reason = p_reason, paused_at = clock_timestamp()
     where q.queue = p_queue returning 1)
  select exists (select from changed)
$$;
