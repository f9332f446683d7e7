-- outbox_say(relay, queues, states, reasons): what a relay does about queues from now on (outbox_lane); the state NULL: nothing
-- any more. A queue that another relay has spoken of since is left to that one if this relay has nothing to say.
create or replace function outbox_say(p_relay text, p_queues text[], p_states text[], p_reasons text[])
returns void
language plpgsql volatile
set search_path from current
as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  delete from outbox_lane n using unnest(p_queues, p_states) as s(queue, state)
   where n.queue = s.queue and n.relay = p_relay and s.state is null;
  insert into outbox_lane as n (queue, relay, listens, state, reason)
  select s.queue, p_relay, not pg_try_advisory_xact_lock(outbox_relay_lock(p_relay)), s.state, s.reason
    from unnest(p_queues, p_states, p_reasons) as s(queue, state, reason)
   where s.state is not null
   order by s.queue
      on conflict (queue) do update
     set relay = excluded.relay, listens = excluded.listens, state = excluded.state, reason = excluded.reason,
         since = case when n.state = excluded.state and n.relay = excluded.relay then n.since else excluded.since end;
end
$$;
