-- Waits until no other migration of this schema runs, at most for lock_timeout. Freed at the end of the transaction.
select pg_catalog.pg_advisory_xact_lock($1)
