-- This moment, to compare with later.
select pg_current_snapshot()::text;
