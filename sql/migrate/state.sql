-- The files that made the schemas, and those of their functions and views that are gone by now; `app.` stands for the
-- application's schema $2, everything else is in the machinery's $1. By name alone: the types of an argument may be
-- tables of the schema, which need not be in search_path here.
select m.name, m.kind, m.checksum, m.release,
  array(
    select o from pg_catalog.unnest(m.objects) o,
      pg_catalog.split_part(o, ' ', 1) kind,
      pg_catalog.split_part(pg_catalog.split_part(o, ' ', 2), '(', 1) written,
      pg_catalog.regexp_replace(written, '^app[.]', '') object,
      lateral (select case when written = object then $1 else $2 end as name) schema
    where case
      when kind in ('function', 'procedure') then not exists (
        select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
        where n.nspname = schema.name and p.proname = object)
      when kind = 'view' then not exists (
        select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = schema.name and c.relname = object)
      else false
    end
  )
from /*schema.*/outbox_migration m
order by m.name
