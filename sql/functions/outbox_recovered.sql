-- outbox_recovered(queue, position, replayed): adds what was sent again to the queue's newest open incident, and closes
-- those of which nothing is left to be sent: the marker has passed the batch that was the newest then, and those
-- that hold what was scheduled. Answers how many incidents are still open, and for each that was closed how many
-- seconds it took.
create or replace function outbox_recovered(p_queue text, p_position bigint, p_replayed bigint)
returns table (still_open bigint, seconds double precision[])
language plpgsql volatile
set search_path from current
as $$
begin
  if p_replayed > 0 then
    update outbox_incident i set replayed = i.replayed + p_replayed
     where i.incident = (select max(o.incident) from outbox_incident o
                          where o.queue = p_queue and o.recovered_at is null and o.cancelled_at is null);
  end if;
  with closed as (
    update outbox_incident i set recovered_at = clock_timestamp(), replayed = i.replayed + i.scheduled
     where i.queue = p_queue and i.recovered_at is null and i.cancelled_at is null and i.newest <= p_position
       and not exists (select from outbox_held h
                        where h.incident = i.incident and h.cancelled_at is null
                          and (h.batch is null or h.batch > p_position))
    returning extract(epoch from i.recovered_at - i.noticed_at)::double precision as took)
  select coalesce(array_agg(c.took), '{}') into seconds from closed c;
  select count(*) into still_open from outbox_incident i
   where i.queue = p_queue and i.recovered_at is null and i.cancelled_at is null;
  return next;
end
$$;
