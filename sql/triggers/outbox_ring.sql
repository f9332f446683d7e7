-- Rings for a relay that sleeps.
create or replace trigger outbox_ring after insert on /*app.*/outbox for each statement execute function outbox_ring();
create or replace trigger outbox_ring after insert on outbox_held for each statement execute function outbox_ring();
