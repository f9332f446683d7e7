-- Keeps out of the log what could not become a message.
create or replace trigger outbox_refuse before insert on /*app.*/outbox for each row execute function outbox_refuse();
