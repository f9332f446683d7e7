-- Receipts that came by way of Redis.
select /*schema.*/outbox_ack_many($1);
