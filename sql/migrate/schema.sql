-- Makes the schema, if it is not there. (IF NOT EXISTS would ask for the right to make one even if it is.)
do $outboxd$
begin
  if not exists (select from pg_catalog.pg_namespace where nspname = /*schema_literal*/) then
    create schema /*schema*/;
    comment on schema /*schema*/ is 'made by outboxd';
  end if;
end
$outboxd$;
