-- A receipt that carries a failure.
select /*app.*/outbox_fail($1, $2, $3);
