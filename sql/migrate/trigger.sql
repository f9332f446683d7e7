-- Makes a trigger, unless there is one as wanted: making it anew would wait for every open producer, and others behind it.
do $outboxd$
begin
  if not exists (
    select from pg_catalog.pg_trigger t
     where t.tgrelid = $name$/*table*/$name$::regclass and t.tgname = $name$/*name*/$name$
       and not t.tgisinternal and t.tgenabled in ('O', 'A')
       and lower(pg_catalog.pg_get_triggerdef(t.oid, true))
         = lower(replace($name$/*definition*/$name$, $name$/*table*/$name$, $name$/*table*/$name$::regclass::text))
  ) then
    /*statement*/;
  end if;
end
$outboxd$;
