-- outbox_done(queue, age): the newest ledger number whose batch was dispatched at least `age` ago and has stayed so; 0
-- if there is none. Checkpoints can go back when Redis lost something: what counts is the lowest one since.
create or replace function outbox_done(p_queue text, p_age interval)
returns bigint
language sql stable
set search_path from current
as $$
  select coalesce(min(c.position), 0)
    from outbox_checkpoint c
   where c.queue = p_queue
     and c.checkpoint >= (select max(o.checkpoint) from outbox_checkpoint o
                           where o.queue = p_queue and o.at <= clock_timestamp() - p_age)
$$;
