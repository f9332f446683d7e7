-- outbox_release(relay): a relay that stops in good order gives up its affinity, so that others take its queues at once.
create or replace function outbox_release(p_relay text)
returns integer
language plpgsql volatile
set search_path from current
as $$
declare
  v_released integer;
begin
  update outbox_tenure t set relay = '' where t.relay = p_relay and t.cap is null;
  get diagnostics v_released = row_count;
  delete from outbox_lane n where n.relay = p_relay;
  return v_released;
end
$$;
