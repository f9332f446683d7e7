-- The sealed segments that hold rows.
select /*schema.*/outbox_truncatable();
