-- Opens the transaction of a look, on a standby too. Time-outs of the role or of the database must not cut it short.
begin isolation level read committed read only;
set local statement_timeout = 0;
set local lock_timeout = 0;
set local idle_in_transaction_session_timeout = 0;
-- What others made in the application's schema must not be called by whoever migrates.
set local search_path = pg_catalog, pg_temp;
