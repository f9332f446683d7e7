-- outbox_sign_in(relay): says on the session that listens that this relay lives, for as long as the session lasts: the
-- lock of its name, and a shared one that all relays of this outbox hold, so that they can be counted before any of them
-- has opened a queue. Never waits: a session of the same relay that was cut off may live on in the server for a while.
create or replace function outbox_sign_in(p_relay text)
returns void
language plpgsql volatile
set search_path from current
as $$
begin
  perform pg_try_advisory_lock(outbox_relay_lock(p_relay));
  perform pg_try_advisory_lock_shared(1331984233, ('outbox_bell_seq'::regclass::oid::bigint & 2147483647)::integer);
end
$$;
