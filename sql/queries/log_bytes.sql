-- How large the log is on disk, its indexes included. Reads file sizes, no table; a segment that is being emptied is waited
-- for. The name stands between dollar signs, because a schema's name may hold a quote.
select coalesce(sum(pg_catalog.pg_total_relation_size(i.inhrelid)), 0)::bigint
  from pg_inherits i
 where i.inhparent = to_regclass($name$/*app.*/outbox$name$)::oid;
