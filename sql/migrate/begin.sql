-- Opens the transaction of a migration. Time-outs of the role or of the database must not cut it short.
begin isolation level read committed read write;
set local statement_timeout = 0;
set local idle_in_transaction_session_timeout = 0;
-- What others made in the application's schema must not be called by whoever migrates.
set local search_path = pg_catalog, pg_temp;
set local client_min_messages = warning;
set local standard_conforming_strings = on;
-- Functions may call each other in any order.
set local check_function_bodies = off;
