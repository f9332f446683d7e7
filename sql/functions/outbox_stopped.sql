-- outbox_stopped(queue, reason, relay): records why a relay stopped a queue by itself, for operators. NULL clears it.
create or replace function outbox_stopped(p_queue text, p_reason text, p_relay text)
returns void
language sql volatile
set search_path from current
as $$
  update outbox_queue q
     set stopped_reason = p_reason, stopped_by = case when p_reason is not null then p_relay end,
         stopped_at = case when p_reason is not null then clock_timestamp() end
   where q.queue = p_queue and (p_reason is not null or q.stopped_reason is not null)
$$;
