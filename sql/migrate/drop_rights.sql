-- Rights on the schema that outboxd gave to its roles, and the schema if outboxd made it and nobody else uses it.
do $outboxd$
declare
  name text;
begin
  foreach name in array array['outbox_producer', 'outbox_worker', 'outbox_relay', 'outbox_reader'] loop
    if exists (select from pg_catalog.pg_roles where rolname = name) then
      begin
        execute format('revoke all on schema %I from %I', /*schema_literal*/, name);
      exception when insufficient_privilege then
        null;   -- who may not give rights on it gave none
      end;
    end if;
  end loop;
  if exists (
    select from pg_catalog.pg_namespace
    where nspname = /*schema_literal*/ and pg_catalog.obj_description(oid, 'pg_namespace') = 'made by outboxd'
  ) then
    begin
      execute format('drop schema %I', /*schema_literal*/);
    exception when dependent_objects_still_exist then
      raise notice 'the schema % stays, because it holds something that outboxd did not make', /*schema_literal*/;
    end;
  end if;
end
$outboxd$;
