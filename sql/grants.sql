-- Rights. Repeatable; applied after everything else. PUBLIC gets nothing.
--
--   outbox_producer  enqueues, by function or by INSERT and COPY of the columns below, and can do nothing else
--   outbox_worker    outbox_ack, outbox_ack_many, outbox_fail, outbox_once, outbox_status, outbox_cancel
--   outbox_relay     what the relay does; not the schema itself
--   outbox_reader    sees everything
-- The roles are made if they are missing and whoever migrates may make roles; where one is missing, its part is left
-- out with a notice, and an application that is the owner needs none. Everything is named: something of the
-- application's own may begin with outbox_ too.
do $$
declare
  -- The schema of the machinery, and the application's, in which the log, the view and the public functions are.
  v_schema    constant regnamespace := quote_ident(current_schema())::regnamespace;
  v_app       constant regnamespace := (select c.relnamespace from pg_class c where c.oid = $name$/*app.*/outbox$name$::regclass);
  -- The names of all files in sql/functions; a test holds it equal.
  v_functions constant name[] := array[
    'outbox_ack', 'outbox_ack_many', 'outbox_batch_of', 'outbox_believed', 'outbox_bell_waits', 'outbox_bury',
    'outbox_bytes', 'outbox_cancel', 'outbox_certify', 'outbox_confirm', 'outbox_confirm_receipts',
    'outbox_cursor_at', 'outbox_dead_discard', 'outbox_dead_restore', 'outbox_dead_retry', 'outbox_dispatched_at',
    'outbox_done', 'outbox_doubt', 'outbox_duplicates', 'outbox_enqueue', 'outbox_enqueue_many', 'outbox_enqueue_raw',
    'outbox_fail', 'outbox_find', 'outbox_forget', 'outbox_gauge', 'outbox_identity', 'outbox_in_log',
    'outbox_keep_outstanding', 'outbox_known_in_log', 'outbox_log', 'outbox_lost', 'outbox_mark', 'outbox_move',
    'outbox_newest_batch', 'outbox_once', 'outbox_open', 'outbox_open_after', 'outbox_overdue', 'outbox_passed',
    'outbox_pause', 'outbox_plan', 'outbox_plan_ids', 'outbox_plan_log', 'outbox_purge', 'outbox_pushed',
    'outbox_put', 'outbox_read', 'outbox_receipt_row', 'outbox_recovered', 'outbox_refuse', 'outbox_relay_lock',
    'outbox_relay_locks', 'outbox_relays', 'outbox_release', 'outbox_remember', 'outbox_repair',
    'outbox_repair_queue', 'outbox_replay', 'outbox_replay_cancel', 'outbox_resend', 'outbox_resume',
    'outbox_resume_stopped', 'outbox_ring', 'outbox_rotate', 'outbox_row_id', 'outbox_say', 'outbox_schedule',
    'outbox_segment_needed', 'outbox_shown', 'outbox_sign_in', 'outbox_state', 'outbox_status', 'outbox_stopped',
    'outbox_suspends', 'outbox_take_over', 'outbox_task_id', 'outbox_tick_is_wide', 'outbox_tick_rows', 'outbox_trim',
    'outbox_truncatable', 'outbox_truncate', 'outbox_undispatched', 'outbox_unreadable', 'outbox_wants',
    'outbox_without_receipt', 'outbox_work'];
  -- Those of them that stand in the application's schema.
  v_public    constant name[] := array[
    'outbox_ack', 'outbox_ack_many', 'outbox_cancel', 'outbox_enqueue', 'outbox_enqueue_many', 'outbox_enqueue_raw',
    'outbox_fail', 'outbox_once', 'outbox_status'];
  v_tables    constant text[] := array[
    $name$/*app.*/outbox$name$,
    'outbox_s0', 'outbox_s1', 'outbox_s2', 'outbox_s3', 'outbox_s4', 'outbox_s5', 'outbox_s6', 'outbox_s7',
    'outbox_segment', 'outbox_queue', 'outbox_lane', 'outbox_batch', 'outbox_tenure', 'outbox_checkpoint', 'outbox_held',
    'outbox_dead', 'outbox_incident', 'outbox_dedupe', 'outbox_receipt', 'outbox_meta'];
  v_sequences constant text := 'outbox_id_seq, outbox_segment_seq, outbox_bell_seq';
  v_role      text;
  v_may       boolean;
  f           record;
  v_table     text;
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
    select p.oid::regprocedure as signature
      from pg_proc p join pg_class c on c.oid = $name$/*app.*/outbox$name$::regclass
     where p.proowner = c.relowner
       and (p.pronamespace = v_schema and p.proname = any(v_functions)
            or p.pronamespace = v_app and p.proname = any(v_public))
  loop
    execute format('revoke all on function %s from public', f.signature);
    if exists (select from pg_roles r where r.rolname = 'outbox_relay') then
      execute format('grant execute on function %s to outbox_relay', f.signature);
    end if;
  end loop;

  for v_role in select r.rolname from pg_roles r
                 where r.rolname in ('outbox_producer', 'outbox_worker', 'outbox_relay', 'outbox_reader') loop
    if not has_schema_privilege(v_role, v_app, 'usage') then
      execute format('grant usage on schema %s to %I', v_app, v_role);
    end if;
    -- Producers and workers need no right on the machinery's schema: defaults, triggers and views know what they name
    -- by its oid, and public functions run as their owner.
    if v_role in ('outbox_relay', 'outbox_reader') and not has_schema_privilege(v_role, v_schema, 'usage') then
      execute format('grant usage on schema %s to %I', v_schema, v_role);
    end if;
  end loop;

  if exists (select from pg_roles r where r.rolname = 'outbox_producer') then
    grant insert (queue, task, args, kwargs, headers, body, priority, deliver_at, expires_at, task_id),
          select (id, task_id) on /*app.*/outbox to outbox_producer;
    grant usage on sequence outbox_id_seq to outbox_producer;
    -- To read which segment is the current one. Not USAGE, with which it could be moved.
    grant select on sequence outbox_segment_seq to outbox_producer;
    grant execute on function
      /*app.*/outbox_enqueue(text, text, jsonb, jsonb, jsonb, timestamptz, timestamptz, integer, text, uuid),
      /*app.*/outbox_enqueue_many(text, text, jsonb[], jsonb[], jsonb, timestamptz, timestamptz, integer),
      /*app.*/outbox_enqueue_raw(text, bytea, jsonb, timestamptz, timestamptz, integer, text, uuid, text)
      to outbox_producer;
  end if;

  if exists (select from pg_roles r where r.rolname = 'outbox_worker') then
    grant execute on function
      /*app.*/outbox_ack(uuid, bigint), /*app.*/outbox_ack_many(uuid[], bigint[]), /*app.*/outbox_fail(uuid, text, text, bigint),
      /*app.*/outbox_once(uuid, bigint), /*app.*/outbox_status(uuid), /*app.*/outbox_cancel(uuid) to outbox_worker;
  end if;

  foreach v_table in array v_tables loop
    if exists (select from pg_roles r where r.rolname = 'outbox_relay') then
      execute format('grant select, insert, update, delete, truncate on %s to outbox_relay', v_table);
    end if;
    if exists (select from pg_roles r where r.rolname = 'outbox_reader') then
      execute format('grant select on %s to outbox_reader', v_table);
    end if;
  end loop;
  if exists (select from pg_roles r where r.rolname = 'outbox_relay') then
    execute format('grant usage, select, update on sequence %s to outbox_relay', v_sequences);
    grant select on /*app.*/outbox_rows to outbox_relay;
    -- Not there if somebody applied the files by hand.
    if to_regclass('outbox_migration') is not null then
      grant select on outbox_migration to outbox_relay;
    end if;
  end if;
  if exists (select from pg_roles r where r.rolname = 'outbox_reader') then
    execute format('grant select on sequence %s to outbox_reader', v_sequences);
    grant select on /*app.*/outbox_rows to outbox_reader;
    grant execute on function /*app.*/outbox_status(uuid), outbox_row_id(uuid), outbox_in_log(text, bigint),
      outbox_state(text, bigint, xid8, uuid, timestamptz, timestamptz), outbox_batch_of(text, bigint, xid8),
      outbox_dispatched_at(text, bigint, timestamptz), outbox_shown(text), outbox_unreadable(text, jsonb, jsonb, jsonb)
      to outbox_reader;
  end if;
end
$$;
