-- outbox_replay_cancel(incident): takes back what an operator's replay has scheduled and the relay has not planned yet.
-- Answers how many rows; NULL: there is no such replay, or it is over.
create or replace function outbox_replay_cancel(p_incident bigint)
returns bigint
language plpgsql volatile
set search_path from current
as $$
declare
  v_rows bigint;
begin
  update outbox_incident i set cancelled_at = clock_timestamp()
   where i.incident = p_incident and i.cause = 'operator' and i.recovered_at is null and i.cancelled_at is null;
  if not found then
    return null;
  end if;
  -- They count as dispatched again: the ledger holds them, or did.
  with gone as (
    delete from outbox_held h where h.incident = p_incident and h.batch is null returning 1)
  select count(*) into v_rows from gone;
  update outbox_incident i set scheduled = i.scheduled - v_rows where i.incident = p_incident;
  return v_rows;
end
$$;
