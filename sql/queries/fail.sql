-- A receipt that carries a failure.
select /*schema.*/outbox_fail($1, $2, $3);
