-- Drops what earlier releases made and this one does not: functions that are gone, and old signatures of others. `app.`
-- stands for the application's schema.
do $outboxd$
declare
  gone text;
begin
  for gone in
    select o from outbox_migration, unnest(objects) o
    except select unnest(/*objects*/)
    order by 1 desc   -- views before the functions that they call
  loop
    execute 'drop ' || split_part(gone, ' ', 1) || ' if exists '
         || regexp_replace(substr(gone, strpos(gone, ' ') + 1), '\mapp[.]', replace($name$/*app.*/$name$, '\', '\\'));
  end loop;
end
$outboxd$;
delete from outbox_migration where kind = 'repeatable' and name <> all (/*names*/);
