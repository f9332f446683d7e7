-- Receipts that came by way of Redis.
select /*app.*/outbox_ack_many($1, $2);
