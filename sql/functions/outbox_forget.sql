-- outbox_forget(queue, finish): takes back that there is such a queue: its ledger, tenures, checkpoints and settings of
-- operators go. Refuses while a row of it is stored or not known to be consumed. Two calls: the first pauses the queue, so
-- that relays leave it; the second, with `finish`, deletes. A producer that commits a row afterwards makes it anew.
--   unknown    there is no such queue
--   refused    `why` says what is there
--   busy       paused; the relay in `why` has not left it yet
--   paused     relays have left it
--   forgotten  done
create or replace function outbox_forget(p_queue text, p_finish boolean)
returns table (status text, why text)
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set jit = off
as $$
declare
  q outbox_queue;
  k outbox_checkpoint;
  v_newest bigint;
begin
  perform set_config('lock_timeout', '5s', true);
  select o.* into q from outbox_queue o where o.queue = p_queue for update;
  select c.* into k from outbox_checkpoint c where c.queue = p_queue order by c.checkpoint desc limit 1;
  select max(b.batch) into v_newest from outbox_batch b where b.queue = p_queue;
  why := case
    when exists (select from outbox_held h where h.queue = p_queue and h.cancelled_at is null)
      then 'rows of it wait for a time, or to be sent again, or are not known to be consumed: see `outboxd status`'
    when exists (select from outbox_dead d where d.queue = p_queue)
      then 'rows of it are dead: see `outboxd dead list`, then retry or discard them'
    when v_newest > coalesce(k.position, 0)
      then 'rows of it are on their way to Redis: see `outboxd status`'
    when k.consumed < k.position or k.outstanding <> '{}'
      then 'rows of it are in Redis and not known to be consumed: let its workers finish'
    when exists (select from /*app.*/outbox o where o.queue = p_queue)
      then 'rows of it are still in the log, published, discarded or not: what is done with leaves it after '
           'retention.min, at a quiet time later; `outboxd status` says whether any is pending' end;
  if q.queue is null and why is null then
    status := 'unknown';
  elsif why is not null then
    status := 'refused';
  elsif not p_finish then
    update outbox_queue o set paused = true, reason = 'it is being forgotten', paused_at = clock_timestamp() where o.queue = p_queue;
    perform pg_notify('outbox', '');
    status := 'paused';
  else
    select n.relay into why from outbox_lane n
     where n.queue = p_queue and (not n.listens or outbox_relay_lock(n.relay) = any(outbox_relay_locks()));
    if found then
      status := 'busy';
    else
      delete from outbox_lane n where n.queue = p_queue;
      delete from outbox_held h where h.queue = p_queue;
      delete from outbox_batch b where b.queue = p_queue;
      delete from outbox_checkpoint c where c.queue = p_queue;
      delete from outbox_tenure t where t.queue = p_queue;
      delete from outbox_queue o where o.queue = p_queue;
      status := 'forgotten';
    end if;
  end if;
  return next;
end
$$;
