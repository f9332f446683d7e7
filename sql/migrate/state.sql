-- The files that made the schema, and those of their objects that are gone by now.
select name, kind, checksum, release,
  array(
    select o from pg_catalog.unnest(objects) o
    where case pg_catalog.split_part(o, ' ', 1)
      when 'function' then pg_catalog.to_regprocedure(/*schema_prefix*/ || pg_catalog.substr(o, 10)) is null
      when 'view' then pg_catalog.to_regclass(/*schema_prefix*/ || pg_catalog.substr(o, 6)) is null
      else false
    end
  )
from /*schema.*/outbox_migration
order by name
