-- What a role that may create in the application's schema can put into the way of functions that look for names there:
-- overloads that match better than what the catalogue has, operators, and everything of the machinery under its own name.
-- Each writes down as whom it runs.
create table public.caught (who text, what text);
grant insert on public.caught to public;
create function public.trap(p_what text) returns void language plpgsql as
  $$ begin insert into public.caught values (current_user, p_what); end $$;

-- Exact matches of what the catalogue has for any type only: pg_catalog wins on a tie, and these are none.
do $traps$
declare
  v_call text;
begin
  foreach v_call in array array[
    'array_ndims(jsonb[]) returns int', 'array_ndims(uuid[]) returns int',
    'array_length(jsonb[], int) returns int', 'array_upper(jsonb[], int) returns int', 'array_lower(jsonb[], int) returns int',
    'array_position(uuid[], uuid) returns int', 'array_position(jsonb[], jsonb) returns int', 'array_position(xid8[], xid8) returns int',
    'array_position(text[], text) returns int',
    'array_remove(uuid[], uuid) returns uuid[]', 'array_append(uuid[], uuid) returns uuid[]',
    'cardinality(jsonb[]) returns int', 'cardinality(uuid[]) returns int', 'cardinality(bigint[]) returns int', 'cardinality(xid8[]) returns int',
    'unnest(uuid[]) returns setof uuid', 'unnest(jsonb[]) returns setof jsonb', 'unnest(bigint[]) returns setof bigint',
    'array_to_string(text[], text) returns text', 'to_jsonb(text) returns jsonb', 'to_jsonb(timestamptz) returns jsonb',
    'format(text) returns text', 'format(text, text) returns text', 'format(text, int) returns text', 'format(text, bigint) returns text',
    'format(text, text, text) returns text', 'format(text, int, text) returns text', 'format(text, int, int) returns text',
    'format(text, int, text, text) returns text', 'format(text, bigint, text) returns text', 'format(text, bigint, bigint) returns text',
    'format(text, text, text, text) returns text', 'concat(text, text) returns text', 'num_nulls(text, text) returns int',
    'jsonb_build_object(text, int, text, timestamptz) returns jsonb', 'jsonb_build_object(text, text, text, text) returns jsonb',
    'jsonb_build_object(text, bigint) returns jsonb', 'jsonb_build_array(text) returns jsonb',
    'pg_column_size(jsonb) returns int', 'pg_column_size(text) returns int', 'pg_column_compression(jsonb) returns text',
    'pg_typeof(jsonb) returns regtype', 'octet_length(varchar) returns int', 'left(varchar, int) returns text', 'substr(varchar, int) returns text',
    'pg_sequence_last_value(oid) returns bigint', 'nextval(text) returns bigint', 'pg_total_relation_size(oid) returns bigint'] loop
    execute pg_catalog.format($f$create function public.%s language plpgsql as $b$ begin perform public.trap(%L); return%s; end $b$ $f$,
      v_call, v_call, case when v_call like '%setof%' then '' else ' null' end);
  end loop;
end
$traps$;

-- Operators between types for which the catalogue has none, so that it would have to cast.
do $traps$
declare
  v_pair  record;
begin
  for v_pair in
    select * from (values ('&', 'bigint', 'integer', 'bigint'), ('|', 'bigint', 'integer', 'bigint'), ('||', 'text', 'uuid', 'text'),
                          ('||', 'text', 'integer', 'text'), ('||', 'text', 'bigint', 'text'), ('=', 'uuid', 'text', 'boolean'),
                          ('=', 'varchar', 'text', 'boolean'), ('*', 'interval', 'integer', 'interval'), ('<', 'smallint', 'numeric', 'boolean'),
                          ('<>', 'bigint', 'numeric', 'boolean'), ('%', 'bigint', 'numeric', 'numeric'),
                          ('=', 'oid', 'regprocedure', 'boolean'), ('=', 'oid', 'regclass', 'boolean')) v(op, l, r, t)
  loop
    execute pg_catalog.format($f$create function public.%I(%s, %s) returns %s language plpgsql as $b$ begin perform public.trap(%L); return null; end $b$ $f$,
      'trap_' || v_pair.l || v_pair.r || pg_catalog.md5(v_pair.op), v_pair.l, v_pair.r, v_pair.t, v_pair.l || v_pair.op || v_pair.r);
    execute pg_catalog.format('create operator public.%s (leftarg = %s, rightarg = %s, function = public.%I)',
      v_pair.op, v_pair.l, v_pair.r, 'trap_' || v_pair.l || v_pair.r || pg_catalog.md5(v_pair.op));
  end loop;
end
$traps$;

-- The machinery's functions and tables under their own names.
do $traps$
declare
  f record;
begin
  for f in
    select p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid) as args
      from pg_catalog.pg_proc p
     where p.proname like 'outbox\_%' and p.pronamespace <> 'public'::regnamespace and p.prorettype <> 'trigger'::regtype
       and not exists (select from pg_catalog.unnest(p.proargtypes) t(oid)
                         join pg_catalog.pg_type y on y.oid = t.oid where y.typnamespace <> 'pg_catalog'::regnamespace)
  loop
    execute pg_catalog.format($f$create function public.%I(%s) returns void language plpgsql as $b$ begin perform public.trap(%L); end $b$ $f$,
      f.proname, f.args, f.proname);
  end loop;
  for f in
    select c.relname from pg_catalog.pg_class c
     where c.relkind = 'r' and c.relname like 'outbox\_%' and c.relnamespace <> 'public'::regnamespace
  loop
    execute pg_catalog.format('create table public.%I (stolen text); grant all on public.%I to public', f.relname, f.relname);
  end loop;
end
$traps$;
