-- outbox_done(queue, age): the newest ledger number at or below which everything was done at least `age` ago and has stayed
-- so, outstanding rows aside; 0 if there is none. Done is consumed, and dispatched where consumption is not tracked.
-- Checkpoints can go back when Redis lost something: what counts is the lowest one since.
create or replace function outbox_done(p_queue text, p_age interval)
returns bigint
language sql stable
set search_path from current
as $$
  select coalesce(min(coalesce(c.consumed, c.position)), 0)
    from outbox_checkpoint c
   where c.queue = p_queue
     and c.checkpoint >= (select max(o.checkpoint) from outbox_checkpoint o
                           where o.queue = p_queue and o.at <= clock_timestamp() - p_age)
$$;
