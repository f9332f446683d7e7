-- Whether relays are alive.
select alive, polls, last_ms from /*schema.*/outbox_relays();
