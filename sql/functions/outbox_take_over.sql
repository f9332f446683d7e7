-- outbox_take_over(queue, incident): what operators' replays have scheduled and the relay has not planned yet belongs to
-- this incident from now on: batches that are sent again leave those rows out, because they go out anyway, so an
-- operator may not take them back any more. Answers how many rows. Part of outbox_lost and outbox_certify.
create or replace function outbox_take_over(p_queue text, p_incident bigint)
returns bigint
language plpgsql volatile
set search_path from current
as $$
declare
  v_rows bigint;
begin
  with taken as (
    update outbox_held h set incident = p_incident
      from outbox_incident i
     where h.queue = p_queue and h.batch is null and h.cancelled_at is null
       and i.incident = h.incident and i.cause = 'operator'
    returning i.incident),
  n as (select t.incident, count(*) as rows from taken t group by t.incident),
  less as (update outbox_incident i set scheduled = i.scheduled - n.rows from n where i.incident = n.incident)
  select coalesce(sum(n.rows), 0) into v_rows from n;
  return v_rows;
end
$$;
