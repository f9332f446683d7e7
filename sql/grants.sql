-- Rights. Repeatable; applied after everything else. PUBLIC gets nothing.
--
--   outbox_producer  enqueues, by function or by INSERT and COPY of the columns below, and can do nothing else
--   outbox_worker    outbox_ack, outbox_ack_many, outbox_once, outbox_status, outbox_cancel
--   outbox_relay     what the relay does; not the schema itself
--   outbox_reader    sees everything
-- The roles are made if they are missing and whoever migrates may make roles; where one is missing, its part is left
-- out with a notice, and an application that is the owner needs none. Functions of this schema whose name begins with
-- outbox_ and that belong to the same owner are taken for outboxd's.
do $$
declare
  v_schema constant text := current_schema();
  v_role   text;
  v_may    boolean;
  f        record;
begin
  select r.rolcreaterole or r.rolsuper into v_may from pg_roles r where r.rolname = current_user;
  foreach v_role in array array['outbox_producer', 'outbox_worker', 'outbox_relay', 'outbox_reader'] loop
    continue when exists (select from pg_roles r where r.rolname = v_role);
    if v_may then
      begin
        execute format('create role %I nologin', v_role);
      exception when duplicate_object or unique_violation then
        null;   -- another database's migration made it at the same moment
      end;
    else
      raise notice 'the role % does not exist and % may not make it: its rights are left out', v_role, current_user;
    end if;
  end loop;

  for f in
    select p.oid::regprocedure as signature from pg_proc p
     where p.pronamespace = v_schema::regnamespace and p.proname like 'outbox\_%'
       and p.proowner = (select c.relowner from pg_class c where c.oid = 'outbox'::regclass)
  loop
    execute format('revoke all on function %s from public', f.signature);
    if exists (select from pg_roles r where r.rolname = 'outbox_relay') then
      execute format('grant execute on function %s to outbox_relay', f.signature);
    end if;
  end loop;

  for v_role in select r.rolname from pg_roles r
                 where r.rolname in ('outbox_producer', 'outbox_worker', 'outbox_relay', 'outbox_reader') loop
    if not has_schema_privilege(v_role, v_schema, 'usage') then
      execute format('grant usage on schema %I to %I', v_schema, v_role);
    end if;
  end loop;

  if exists (select from pg_roles r where r.rolname = 'outbox_producer') then
    grant insert (queue, task, args, kwargs, headers, body, priority, deliver_at, expires_at, task_id),
          select (id, task_id) on outbox to outbox_producer;
    grant usage on sequence outbox_id_seq to outbox_producer;
    -- To read which segment is the current one. Not USAGE, with which it could be moved.
    grant select on sequence outbox_segment_seq to outbox_producer;
    grant execute on function
      outbox_enqueue(text, text, jsonb, jsonb, jsonb, timestamptz, timestamptz, integer, text, uuid),
      outbox_enqueue_many(text, text, jsonb[], jsonb[], jsonb, timestamptz, timestamptz, integer),
      outbox_enqueue_raw(text, bytea, jsonb, timestamptz, timestamptz, integer, text, uuid)
      to outbox_producer;
  end if;

  if exists (select from pg_roles r where r.rolname = 'outbox_worker') then
    grant execute on function outbox_ack(uuid), outbox_ack_many(uuid[]), outbox_once(uuid), outbox_status(uuid),
      outbox_cancel(uuid) to outbox_worker;
  end if;

  for f in select c.oid::regclass as name, case c.relname when 'outbox_migration' then 'v' else c.relkind end as relkind
             from pg_class c
            where c.relnamespace = v_schema::regnamespace and c.relkind in ('r', 'p', 'v', 'S')
              and (c.relname = 'outbox' or c.relname like 'outbox\_%')
              and c.relowner = (select o.relowner from pg_class o where o.oid = 'outbox'::regclass)
  loop
    if exists (select from pg_roles r where r.rolname = 'outbox_relay') then
      execute format(case f.relkind when 'S' then 'grant usage, select, update on sequence %s to outbox_relay'
                                    when 'v' then 'grant select on %s to outbox_relay'
                                    else 'grant select, insert, update, delete, truncate on %s to outbox_relay' end, f.name);
    end if;
    if exists (select from pg_roles r where r.rolname = 'outbox_reader') then
      execute format(case f.relkind when 'S' then 'grant select on sequence %s to outbox_reader'
                                    else 'grant select on %s to outbox_reader' end, f.name);
    end if;
  end loop;

  if exists (select from pg_roles r where r.rolname = 'outbox_reader') then
    grant execute on function outbox_status(uuid), outbox_row_id(uuid), outbox_in_log(text, bigint),
      outbox_state(text, bigint, xid8, uuid, timestamptz, timestamptz), outbox_batch_of(text, bigint, xid8),
      outbox_dispatched_at(text, bigint, timestamptz) to outbox_reader;
  end if;
end
$$;
