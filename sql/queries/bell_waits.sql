-- Whether a transaction is open that may have read the bell as awake.
select /*schema.*/outbox_bell_waits();
