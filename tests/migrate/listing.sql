-- Lists what a schema holds, as SQL where SQL can say it; the same on every supported server. Bodies of functions and
-- views are left out: they are in their files. For the test that compares sql/schema.sql with what the migrations make.
with s as (select oid from pg_catalog.pg_namespace where nspname = $1),
rights as (
  select kind, object, case grantee when 0 then 'public' else pg_catalog.pg_get_userbyid(grantee) end as grantee,
         string_agg(distinct lower(privilege_type), ', ' order by lower(privilege_type)) as what
  from (
    select case c.relkind when 'S' then 'sequence' else 'table' end as kind, c.relname::text as object, a.grantee, a.privilege_type, c.relowner as owner
    from s join pg_catalog.pg_class c on c.relnamespace = s.oid cross join pg_catalog.aclexplode(c.relacl) a
    union all
    select 'column', c.relname || ' (' || t.attname || ')', a.grantee, a.privilege_type, c.relowner
    from s join pg_catalog.pg_class c on c.relnamespace = s.oid join pg_catalog.pg_attribute t on t.attrelid = c.oid and not t.attisdropped
    cross join pg_catalog.aclexplode(t.attacl) a
    union all
    select 'function', p.oid::pg_catalog.regprocedure::text, a.grantee, a.privilege_type, p.proowner
    from s join pg_catalog.pg_proc p on p.pronamespace = s.oid
    cross join pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
  ) all_rights
  where grantee <> owner
  group by 1, 2, 3
),
lines(section, object, position, line) as (
  select 1, c.relname::text, 0,
    format(E'\ncreate sequence %s as %s minvalue %s maxvalue %s start %s increment %s cache %s%s;', c.relname, q.seqtypid::pg_catalog.regtype,
      q.seqmin, q.seqmax, q.seqstart, q.seqincrement, q.seqcache, case when q.seqcycle then ' cycle' else '' end)
  from s join pg_catalog.pg_class c on c.relnamespace = s.oid join pg_catalog.pg_sequence q on q.seqrelid = c.oid
  where not exists (select from pg_catalog.pg_depend d where d.objid = c.oid and d.deptype = 'i')
  union all
  select 2, c.relname::text, 0,
    format(E'\ncreate %stable %s%s (', case c.relpersistence when 'u' then 'unlogged ' else '' end, c.relname,
      coalesce((select ' partition of ' || i.inhparent::pg_catalog.regclass from pg_catalog.pg_inherits i where i.inhrelid = c.oid), ''))
  from s join pg_catalog.pg_class c on c.relnamespace = s.oid where c.relkind in ('r', 'p')
  union all
  select 2, c.relname::text, a.attnum,
    format('  %s %s%s%s%s%s%s', a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), case when a.attnotnull then ' not null' else '' end,
      case when a.attidentity <> '' then ' generated as identity' else coalesce(' default ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid), '') end,
      case when a.attstorage <> t.typstorage then ' storage ' || case a.attstorage when 'e' then 'external' when 'm' then 'main' when 'x' then 'extended' else 'plain' end else '' end,
      case when a.attgenerated <> '' then ' stored' else '' end,
      case when exists (select from pg_catalog.pg_attribute l where l.attrelid = c.oid and l.attnum > a.attnum and not l.attisdropped) then ',' else '' end)
  from s join pg_catalog.pg_class c on c.relnamespace = s.oid join pg_catalog.pg_attribute a on a.attrelid = c.oid
  join pg_catalog.pg_type t on t.oid = a.atttypid
  left join pg_catalog.pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
  where c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped and not c.relispartition
  union all
  select 2, c.relname::text, 10000,
    format(')%s%s;', coalesce(' ' || pg_catalog.pg_get_expr(c.relpartbound, c.oid), '')
      || coalesce(' partition by ' || lower(pg_catalog.pg_get_partkeydef(c.oid)), ''),
      coalesce(' with (' || array_to_string(c.reloptions, ', ') || ')', ''))
  from s join pg_catalog.pg_class c on c.relnamespace = s.oid where c.relkind in ('r', 'p')
  union all
  select 2, c.relname::text, 10000 + row_number() over (partition by c.oid order by k.contype, k.conname),
    format('alter table %s add constraint %I %s;', c.relname, k.conname, pg_catalog.pg_get_constraintdef(k.oid))
  from s join pg_catalog.pg_class c on c.relnamespace = s.oid join pg_catalog.pg_constraint k on k.conrelid = c.oid
  where k.contype <> 'n' and k.coninhcount = 0   -- 18 lists NOT NULL here, and what a partition inherits is its parent's
  union all
  select 2, c.relname::text, 20000 + row_number() over (partition by c.oid order by i.indexrelid::pg_catalog.regclass::text),
    pg_catalog.pg_get_indexdef(i.indexrelid) || ';'
  from s join pg_catalog.pg_class c on c.relnamespace = s.oid join pg_catalog.pg_index i on i.indrelid = c.oid
  where not exists (select from pg_catalog.pg_constraint k where k.conindid = i.indexrelid)
  union all
  select 2, c.relname::text, 30000 + row_number() over (partition by c.oid order by t.tgname), pg_catalog.pg_get_triggerdef(t.oid) || ';'
  from s join pg_catalog.pg_class c on c.relnamespace = s.oid join pg_catalog.pg_trigger t on t.tgrelid = c.oid
  where not t.tgisinternal
  union all
  select 3, p.oid::pg_catalog.regprocedure::text, 0,
    format(E'\n-- function %s(%s)\n--   returns %s; %s%s%s%s%s', p.proname, pg_catalog.pg_get_function_arguments(p.oid), coalesce(pg_catalog.pg_get_function_result(p.oid), 'nothing'),
      (select lanname from pg_catalog.pg_language l where l.oid = p.prolang),
      case p.provolatile when 'i' then ', immutable' when 's' then ', stable' else '' end,
      case when p.proisstrict then ', strict' else '' end,
      case when p.prosecdef then ', security definer' else '' end,
      coalesce(', set ' || replace(array_to_string(p.proconfig, ', set '), '=', ' = '), ''))
  from s join pg_catalog.pg_proc p on p.pronamespace = s.oid
  union all
  select 4, c.relname::text, 0,
    format(E'\n-- view %s%s (%s)', c.relname, coalesce(' with (' || array_to_string(c.reloptions, ', ') || ')', ''),
      (select string_agg(a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod), ', ' order by a.attnum)
         from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0))
  from s join pg_catalog.pg_class c on c.relnamespace = s.oid where c.relkind in ('v', 'm')
  union all
  select 5, t.typname::text, 0, format(E'\n-- type %s', pg_catalog.format_type(t.oid, null))
  from s join pg_catalog.pg_type t on t.typnamespace = s.oid
  where t.typtype in ('e', 'd', 'r') or (t.typtype = 'c' and exists (select from pg_catalog.pg_class c where c.oid = t.typrelid and c.relkind = 'c'))
  union all
  select 6, '', row_number() over (order by kind, object, grantee), format('-- %s may %s %s %s', grantee, what, kind, object) from rights
)
select line from lines order by section, object collate "C", position
