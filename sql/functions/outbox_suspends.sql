-- outbox_suspends(queue): pauses a queue whose marker was five times within the hour one that this database never
-- wrote: a copy of it may be writing to the same Redis, and each sends again what the other believes lost. True if so.
-- What was before an operator's last `queue resume` does not count. Part of outbox_open, under the queue's lock.
create or replace function outbox_suspends(q outbox_queue)
returns boolean
language plpgsql volatile
set search_path from current
as $$
begin
  if (select count(*) from outbox_incident i
       where i.queue = q.queue and i.cause = 'unknown'
         and i.noticed_at > greatest(clock_timestamp() - interval '1 h', q.resumed_at)) < 5 then
    return false;
  end if;
  update outbox_queue o
     set paused = true, paused_at = clock_timestamp(),
         reason = 'suspended: five times within an hour its marker in Redis was one that this database never wrote; does '
                  'a copy of this database relay to the same Redis? Stop that, then run `outboxd queue resume`'
   where o.queue = q.queue;
  return true;
end
$$;
