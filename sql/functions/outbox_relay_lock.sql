-- outbox_relay_lock(relay): the advisory lock that a relay's listening session holds for as long as it lives. Whoever can
-- take it knows that the relay is gone, without a heartbeat.
create or replace function outbox_relay_lock(p_relay text)
returns bigint
language sql immutable
return hashtextextended('outboxd relay ' || p_relay, 0);
