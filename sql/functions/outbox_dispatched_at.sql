-- outbox_dispatched_at(queue, batch, planned): when a checkpoint first said that a batch, planned at that time, had
-- been reached; about a second late. NULL if it has not been reached, or if the checkpoints of that time are trimmed.
create or replace function outbox_dispatched_at(queue text, batch bigint, planned timestamptz)
returns timestamptz
language plpgsql stable
set search_path from current
as $$
declare
  v_low  bigint;
  v_high bigint;
  v_try  bigint;
  v_at   timestamptz;
begin
  select c.checkpoint into v_low from outbox_checkpoint c
   where c.queue = outbox_dispatched_at.queue order by c.checkpoint limit 1;
  select c.checkpoint into v_high from outbox_checkpoint c
   where c.queue = outbox_dispatched_at.queue order by c.checkpoint desc limit 1;
  -- Bisection for the first checkpoint that is not older than the batch. Numbers have gaps: the one at or after the
  -- middle is looked at.
  while v_low < v_high loop
    v_try := (v_low + v_high) / 2;
    select c.at into v_at from outbox_checkpoint c
     where c.queue = outbox_dispatched_at.queue and c.checkpoint >= v_try order by c.checkpoint limit 1;
    if v_at >= planned then
      v_high := v_try;
    else
      v_low := v_try + 1;
    end if;
  end loop;
  return (select c.at from outbox_checkpoint c
           where c.queue = outbox_dispatched_at.queue and c.checkpoint >= v_low and c.at >= planned
             and c.position >= outbox_dispatched_at.batch
           order by c.checkpoint limit 1);
end
$$;
