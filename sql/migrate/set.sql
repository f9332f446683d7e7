-- Sets a parameter until the end of the transaction.
select pg_catalog.set_config($1, $2, true)
