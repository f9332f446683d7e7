-- What the migrations make, for reading; a test holds it equal. Bodies are in sql/functions and sql/views.
-- Written by: UPDATE=1 cargo test --test suite schema_sql

-- In the application's schema:

create table outbox (
  xid xid8 not null default pg_current_xact_id(),
  id bigint not null default nextval('outbox_id_seq'::regclass),
  task_id uuid not null default ((encode(int8send(((((currval('outbox_id_seq'::regclass) >> 12) << 16) | (32768)::bigint) | (currval('outbox_id_seq'::regclass) & (4095)::bigint))), 'hex'::text) || substr((gen_random_uuid())::text, 20)))::uuid,
  segment smallint not null default (pg_sequence_last_value('outbox_segment_seq'::regclass))::smallint,
  queue text not null,
  task text not null default ''::text,
  args jsonb not null default '[]'::jsonb storage external,
  kwargs jsonb not null default '{}'::jsonb storage external,
  headers jsonb not null default '{}'::jsonb storage external,
  body bytea storage external,
  priority smallint,
  deliver_at timestamp with time zone,
  expires_at timestamp with time zone,
  created_at timestamp with time zone not null default clock_timestamp()
) partition by list (segment);
CREATE TRIGGER outbox_refuse BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION outbox_refuse();
CREATE TRIGGER outbox_ring AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION outbox_ring();

-- function outbox_ack(task_id uuid, outbox_id bigint DEFAULT NULL::bigint)
--   returns boolean; plpgsql, security definer, set search_path = INTERNAL, pg_temp

-- function outbox_ack_many(task_ids uuid[], outbox_ids bigint[] DEFAULT NULL::bigint[])
--   returns integer; plpgsql, security definer, set search_path = INTERNAL, pg_temp, set enable_seqscan = off, set jit = off

-- function outbox_cancel(task_id uuid)
--   returns boolean; plpgsql, security definer, set search_path = INTERNAL, pg_temp

-- function outbox_enqueue(queue text, task text, args jsonb DEFAULT '[]'::jsonb, kwargs jsonb DEFAULT '{}'::jsonb, headers jsonb DEFAULT '{}'::jsonb, deliver_at timestamp with time zone DEFAULT NULL::timestamp with time zone, expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone, priority integer DEFAULT NULL::integer, dedupe_key text DEFAULT NULL::text, task_id uuid DEFAULT NULL::uuid)
--   returns uuid; plpgsql, security definer, set search_path = INTERNAL, pg_temp

-- function outbox_enqueue_many(queue text, task text, args jsonb[], kwargs jsonb[] DEFAULT NULL::jsonb[], headers jsonb DEFAULT '{}'::jsonb, deliver_at timestamp with time zone DEFAULT NULL::timestamp with time zone, expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone, priority integer DEFAULT NULL::integer)
--   returns SETOF uuid; plpgsql, security definer, set search_path = INTERNAL, pg_temp

-- function outbox_enqueue_raw(queue text, body bytea, headers jsonb DEFAULT '{}'::jsonb, deliver_at timestamp with time zone DEFAULT NULL::timestamp with time zone, expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone, priority integer DEFAULT NULL::integer, dedupe_key text DEFAULT NULL::text, task_id uuid DEFAULT NULL::uuid, task text DEFAULT ''::text)
--   returns uuid; plpgsql, security definer, set search_path = INTERNAL, pg_temp

-- function outbox_fail(task_id uuid, error_class text, error text, outbox_id bigint DEFAULT NULL::bigint)
--   returns boolean; plpgsql, security definer, set search_path = INTERNAL, pg_temp

-- function outbox_once(task_id uuid, outbox_id bigint DEFAULT NULL::bigint)
--   returns boolean; plpgsql, security definer, set search_path = INTERNAL, pg_temp

-- function outbox_status(task_id uuid)
--   returns text; plpgsql, security definer, set search_path = INTERNAL, pg_temp

-- view outbox_rows (id bigint, task_id uuid, queue text, task text, args jsonb, kwargs jsonb, headers jsonb, priority smallint, deliver_at timestamp with time zone, expires_at timestamp with time zone, created_at timestamp with time zone, state text, batch bigint, dispatched_at timestamp with time zone, error text)
-- outbox_producer may insert column outbox (args)
-- outbox_producer may insert column outbox (body)
-- outbox_producer may insert column outbox (deliver_at)
-- outbox_producer may insert column outbox (expires_at)
-- outbox_producer may insert column outbox (headers)
-- outbox_producer may select column outbox (id)
-- outbox_producer may insert column outbox (kwargs)
-- outbox_producer may insert column outbox (priority)
-- outbox_producer may insert column outbox (queue)
-- outbox_producer may insert column outbox (task)
-- outbox_producer may insert, select column outbox (task_id)
-- outbox_relay may execute function outbox_ack(uuid,bigint)
-- outbox_worker may execute function outbox_ack(uuid,bigint)
-- outbox_relay may execute function outbox_ack_many(uuid[],bigint[])
-- outbox_worker may execute function outbox_ack_many(uuid[],bigint[])
-- outbox_relay may execute function outbox_cancel(uuid)
-- outbox_worker may execute function outbox_cancel(uuid)
-- outbox_producer may execute function outbox_enqueue(text,text,jsonb,jsonb,jsonb,timestamp with time zone,timestamp with time zone,integer,text,uuid)
-- outbox_relay may execute function outbox_enqueue(text,text,jsonb,jsonb,jsonb,timestamp with time zone,timestamp with time zone,integer,text,uuid)
-- outbox_producer may execute function outbox_enqueue_many(text,text,jsonb[],jsonb[],jsonb,timestamp with time zone,timestamp with time zone,integer)
-- outbox_relay may execute function outbox_enqueue_many(text,text,jsonb[],jsonb[],jsonb,timestamp with time zone,timestamp with time zone,integer)
-- outbox_producer may execute function outbox_enqueue_raw(text,bytea,jsonb,timestamp with time zone,timestamp with time zone,integer,text,uuid,text)
-- outbox_relay may execute function outbox_enqueue_raw(text,bytea,jsonb,timestamp with time zone,timestamp with time zone,integer,text,uuid,text)
-- outbox_relay may execute function outbox_fail(uuid,text,text,bigint)
-- outbox_worker may execute function outbox_fail(uuid,text,text,bigint)
-- outbox_relay may execute function outbox_once(uuid,bigint)
-- outbox_worker may execute function outbox_once(uuid,bigint)
-- outbox_reader may execute function outbox_status(uuid)
-- outbox_relay may execute function outbox_status(uuid)
-- outbox_worker may execute function outbox_status(uuid)
-- outbox_reader may select table outbox
-- outbox_relay may delete, insert, select, truncate, update table outbox
-- outbox_reader may select table outbox_rows
-- outbox_relay may select table outbox_rows

-- In the machinery's schema:

create sequence outbox_bell_seq as bigint minvalue 0 maxvalue 9223372036854775807 start 1 increment 1 cache 1;

create sequence outbox_id_seq as bigint minvalue 1 maxvalue 576460752303423487 start 1 increment 1 cache 1;

create sequence outbox_segment_seq as smallint minvalue 0 maxvalue 7 start 0 increment 1 cache 1;

create table outbox_batch (
  queue text not null,
  batch bigint not null,
  kind text not null,
  tenure uuid,
  snap pg_snapshot not null,
  tip bigint not null,
  prev_tip bigint not null,
  floor bigint not null,
  open_after bigint[] not null,
  t_snap pg_snapshot,
  t_max bigint,
  pos bigint,
  ids bigint[],
  rows integer not null,
  bytes bigint not null,
  relay text not null,
  at timestamp with time zone not null default clock_timestamp()
);
alter table outbox_batch add constraint outbox_batch_check CHECK ((((t_snap IS NULL) = (t_max IS NULL)) AND ((t_snap IS NULL) = (pos IS NULL))));
alter table outbox_batch add constraint outbox_batch_check1 CHECK (((kind = 'ids'::text) = (ids IS NOT NULL)));
alter table outbox_batch add constraint outbox_batch_kind_check CHECK ((kind = ANY (ARRAY['log'::text, 'ids'::text])));
alter table outbox_batch add constraint outbox_batch_pkey PRIMARY KEY (queue, batch);

create table outbox_checkpoint (
  queue text not null,
  checkpoint bigint not null generated as identity,
  position bigint not null,
  consumed bigint,
  outstanding bigint[],
  evidence text not null,
  at timestamp with time zone not null default clock_timestamp(),
  facts jsonb
);
alter table outbox_checkpoint add constraint outbox_checkpoint_pkey PRIMARY KEY (queue, checkpoint);

create table outbox_dead (
  id bigint not null,
  task_id uuid not null,
  queue text not null,
  task text not null,
  args jsonb not null,
  kwargs jsonb not null,
  headers jsonb not null,
  body bytea,
  priority smallint,
  deliver_at timestamp with time zone,
  expires_at timestamp with time zone,
  created_at timestamp with time zone not null,
  batch bigint,
  error_class text not null,
  error text not null,
  attempts integer not null default 1,
  first_failed_at timestamp with time zone not null default clock_timestamp(),
  last_failed_at timestamp with time zone not null default clock_timestamp()
);
alter table outbox_dead add constraint outbox_dead_pkey PRIMARY KEY (id);
CREATE INDEX outbox_dead_queue ON outbox_dead USING btree (queue, last_failed_at);
CREATE INDEX outbox_dead_task ON outbox_dead USING btree (task_id);

create table outbox_dedupe (
  queue text not null,
  key text not null,
  task_id uuid not null,
  expires_at timestamp with time zone not null
);
alter table outbox_dedupe add constraint outbox_dedupe_pkey PRIMARY KEY (queue, key);
CREATE INDEX outbox_dedupe_expires ON outbox_dedupe USING btree (expires_at);
CREATE INDEX outbox_dedupe_task ON outbox_dedupe USING btree (task_id);

create table outbox_held (
  id bigint not null,
  task_id uuid not null,
  queue text not null,
  task text not null,
  args jsonb not null,
  kwargs jsonb not null,
  headers jsonb not null,
  body bytea,
  priority smallint,
  deliver_at timestamp with time zone,
  expires_at timestamp with time zone,
  created_at timestamp with time zone not null,
  due timestamp with time zone not null,
  batch bigint,
  cancelled_at timestamp with time zone,
  incident bigint,
  was_batch bigint,
  was_incident bigint,
  died jsonb
);
alter table outbox_held add constraint outbox_held_pkey PRIMARY KEY (id);
CREATE INDEX outbox_held_batch ON outbox_held USING btree (queue, batch) WHERE (batch IS NOT NULL);
CREATE INDEX outbox_held_cancelled ON outbox_held USING btree (cancelled_at) WHERE (cancelled_at IS NOT NULL);
CREATE INDEX outbox_held_due ON outbox_held USING btree (queue, due, id) WHERE ((batch IS NULL) AND (cancelled_at IS NULL));
CREATE INDEX outbox_held_incident ON outbox_held USING btree (incident) WHERE (incident IS NOT NULL);
CREATE INDEX outbox_held_task ON outbox_held USING btree (task_id);
CREATE TRIGGER outbox_ring AFTER INSERT ON outbox_held FOR EACH STATEMENT EXECUTE FUNCTION outbox_ring();

create table outbox_incident (
  incident bigint not null generated as identity,
  queue text not null,
  destination text not null,
  cause text not null,
  evidence jsonb not null default '{}'::jsonb,
  relay text not null,
  noticed_at timestamp with time zone not null default clock_timestamp(),
  position_before bigint,
  position_trusted bigint,
  newest bigint,
  outstanding bigint,
  replayed bigint not null default 0,
  duplicates_possible bigint,
  recovered_at timestamp with time zone,
  scheduled bigint not null default 0,
  cancelled_at timestamp with time zone
);
alter table outbox_incident add constraint outbox_incident_pkey PRIMARY KEY (incident);
CREATE INDEX outbox_incident_open ON outbox_incident USING btree (queue) WHERE ((recovered_at IS NULL) AND (cancelled_at IS NULL));
CREATE INDEX outbox_incident_queue ON outbox_incident USING btree (queue, noticed_at);
CREATE INDEX outbox_incident_settled ON outbox_incident USING btree (COALESCE(recovered_at, cancelled_at)) WHERE (COALESCE(recovered_at, cancelled_at) IS NOT NULL);

create table outbox_lane (
  queue text not null,
  relay text not null,
  listens boolean not null,
  state text not null,
  reason text,
  since timestamp with time zone not null default clock_timestamp()
);
alter table outbox_lane add constraint outbox_lane_pkey PRIMARY KEY (queue);

create table outbox_meta (
  singleton boolean not null default true,
  installation uuid not null default gen_random_uuid(),
  witness xid8 not null default pg_current_xact_id(),
  created_at timestamp with time zone not null default clock_timestamp()
);
alter table outbox_meta add constraint outbox_meta_singleton_check CHECK (singleton);
alter table outbox_meta add constraint outbox_meta_pkey PRIMARY KEY (singleton);

create table outbox_migration (
  name text not null,
  kind text not null,
  checksum text not null,
  objects text[] not null,
  release text not null,
  applied_at timestamp with time zone not null default clock_timestamp()
);
alter table outbox_migration add constraint outbox_migration_kind_check CHECK ((kind = ANY (ARRAY['versioned'::text, 'repeatable'::text])));
alter table outbox_migration add constraint outbox_migration_pkey PRIMARY KEY (name);

create table outbox_queue (
  queue text not null,
  paused boolean not null default false,
  reason text,
  paused_at timestamp with time zone,
  stopped_reason text,
  stopped_by text,
  stopped_at timestamp with time zone,
  resumes integer not null default 0,
  move_to bigint,
  discovered_at timestamp with time zone not null default clock_timestamp(),
  resumed_at timestamp with time zone
);
alter table outbox_queue add constraint outbox_queue_pkey PRIMARY KEY (queue);

create table outbox_receipt (
  task_id uuid not null,
  outbox_id bigint not null default 0,
  acked_at timestamp with time zone,
  acked_row bigint,
  once_at timestamp with time zone,
  once_row bigint
);
alter table outbox_receipt add constraint outbox_receipt_pkey PRIMARY KEY (task_id, outbox_id);
CREATE INDEX outbox_receipt_age ON outbox_receipt USING btree (GREATEST(acked_at, once_at));

create table outbox_s0 partition of outbox (
) FOR VALUES IN ('0') with (autovacuum_enabled=off);
CREATE INDEX outbox_s0_queue ON outbox_s0 USING btree (queue, id, xid);
CREATE INDEX outbox_s0_task ON outbox_s0 USING btree (task_id) WHERE (substr(uuid_send(task_id), 1, 8) <> int8send(((((id >> 12) << 16) | (32768)::bigint) | (id & (4095)::bigint))));
CREATE TRIGGER outbox_refuse BEFORE INSERT ON outbox_s0 FOR EACH ROW EXECUTE FUNCTION outbox_refuse();

create table outbox_s1 partition of outbox (
) FOR VALUES IN ('1') with (autovacuum_enabled=off);
CREATE INDEX outbox_s1_queue ON outbox_s1 USING btree (queue, id, xid);
CREATE INDEX outbox_s1_task ON outbox_s1 USING btree (task_id) WHERE (substr(uuid_send(task_id), 1, 8) <> int8send(((((id >> 12) << 16) | (32768)::bigint) | (id & (4095)::bigint))));
CREATE TRIGGER outbox_refuse BEFORE INSERT ON outbox_s1 FOR EACH ROW EXECUTE FUNCTION outbox_refuse();

create table outbox_s2 partition of outbox (
) FOR VALUES IN ('2') with (autovacuum_enabled=off);
CREATE INDEX outbox_s2_queue ON outbox_s2 USING btree (queue, id, xid);
CREATE INDEX outbox_s2_task ON outbox_s2 USING btree (task_id) WHERE (substr(uuid_send(task_id), 1, 8) <> int8send(((((id >> 12) << 16) | (32768)::bigint) | (id & (4095)::bigint))));
CREATE TRIGGER outbox_refuse BEFORE INSERT ON outbox_s2 FOR EACH ROW EXECUTE FUNCTION outbox_refuse();

create table outbox_s3 partition of outbox (
) FOR VALUES IN ('3') with (autovacuum_enabled=off);
CREATE INDEX outbox_s3_queue ON outbox_s3 USING btree (queue, id, xid);
CREATE INDEX outbox_s3_task ON outbox_s3 USING btree (task_id) WHERE (substr(uuid_send(task_id), 1, 8) <> int8send(((((id >> 12) << 16) | (32768)::bigint) | (id & (4095)::bigint))));
CREATE TRIGGER outbox_refuse BEFORE INSERT ON outbox_s3 FOR EACH ROW EXECUTE FUNCTION outbox_refuse();

create table outbox_s4 partition of outbox (
) FOR VALUES IN ('4') with (autovacuum_enabled=off);
CREATE INDEX outbox_s4_queue ON outbox_s4 USING btree (queue, id, xid);
CREATE INDEX outbox_s4_task ON outbox_s4 USING btree (task_id) WHERE (substr(uuid_send(task_id), 1, 8) <> int8send(((((id >> 12) << 16) | (32768)::bigint) | (id & (4095)::bigint))));
CREATE TRIGGER outbox_refuse BEFORE INSERT ON outbox_s4 FOR EACH ROW EXECUTE FUNCTION outbox_refuse();

create table outbox_s5 partition of outbox (
) FOR VALUES IN ('5') with (autovacuum_enabled=off);
CREATE INDEX outbox_s5_queue ON outbox_s5 USING btree (queue, id, xid);
CREATE INDEX outbox_s5_task ON outbox_s5 USING btree (task_id) WHERE (substr(uuid_send(task_id), 1, 8) <> int8send(((((id >> 12) << 16) | (32768)::bigint) | (id & (4095)::bigint))));
CREATE TRIGGER outbox_refuse BEFORE INSERT ON outbox_s5 FOR EACH ROW EXECUTE FUNCTION outbox_refuse();

create table outbox_s6 partition of outbox (
) FOR VALUES IN ('6') with (autovacuum_enabled=off);
CREATE INDEX outbox_s6_queue ON outbox_s6 USING btree (queue, id, xid);
CREATE INDEX outbox_s6_task ON outbox_s6 USING btree (task_id) WHERE (substr(uuid_send(task_id), 1, 8) <> int8send(((((id >> 12) << 16) | (32768)::bigint) | (id & (4095)::bigint))));
CREATE TRIGGER outbox_refuse BEFORE INSERT ON outbox_s6 FOR EACH ROW EXECUTE FUNCTION outbox_refuse();

create table outbox_s7 partition of outbox (
) FOR VALUES IN ('7') with (autovacuum_enabled=off);
CREATE INDEX outbox_s7_queue ON outbox_s7 USING btree (queue, id, xid);
CREATE INDEX outbox_s7_task ON outbox_s7 USING btree (task_id) WHERE (substr(uuid_send(task_id), 1, 8) <> int8send(((((id >> 12) << 16) | (32768)::bigint) | (id & (4095)::bigint))));
CREATE TRIGGER outbox_refuse BEFORE INSERT ON outbox_s7 FOR EACH ROW EXECUTE FUNCTION outbox_refuse();

create table outbox_segment (
  segment smallint not null,
  opened_at timestamp with time zone,
  sealed_at timestamp with time zone,
  truncated_at timestamp with time zone
);
alter table outbox_segment add constraint outbox_segment_pkey PRIMARY KEY (segment);

create table outbox_tenure (
  token uuid not null,
  queue text not null,
  destination text not null,
  incarnation text not null,
  opened_batch bigint not null,
  cap bigint,
  starts bigint not null default 0,
  base bigint,
  certified boolean not null default false,
  relay text not null,
  opened_at timestamp with time zone not null default clock_timestamp(),
  closed_at timestamp with time zone,
  listens boolean not null default false
);
alter table outbox_tenure add constraint outbox_tenure_pkey PRIMARY KEY (token);
CREATE UNIQUE INDEX outbox_tenure_current ON outbox_tenure USING btree (queue) WHERE (cap IS NULL);
CREATE INDEX outbox_tenure_queue ON outbox_tenure USING btree (queue, opened_at);

-- function outbox_batch_of(queue text, id bigint, xid xid8)
--   returns bigint; plpgsql, stable, set search_path = INTERNAL, pg_temp

-- function outbox_believed(q outbox_queue, k outbox_checkpoint, p_destination text, p_incarnation text, p_seen uuid, p_position bigint, p_newest bigint)
--   returns TABLE(trusted bigint, cause text, starts bigint, was_here boolean, life text); plpgsql, stable, set search_path = INTERNAL, pg_temp

-- function outbox_bell_waits()
--   returns boolean; sql, set search_path = INTERNAL, pg_temp

-- function outbox_bury(p_queue text, p_batch bigint, p_ids bigint[], p_classes text[], p_errors text[])
--   returns integer; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_bytes(p_task text, p_args jsonb, p_kwargs jsonb, p_headers jsonb, p_body bytea)
--   returns integer; sql, stable

-- function outbox_certify(p_queue text, p_tenure uuid, p_base bigint, p_present bigint[], p_task_ids uuid[], p_cause text, p_evidence jsonb, p_horizon interval)
--   returns bigint; plpgsql, set search_path = INTERNAL, pg_temp, set jit = off

-- function outbox_confirm(p_queue text, p_tenure uuid, p_position bigint, p_consumed bigint, p_present bigint[], p_facts jsonb)
--   returns bigint; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_confirm_receipts(p_queue text, p_tenure uuid, p_position bigint, p_present bigint[], p_timeout interval)
--   returns TABLE(consumed bigint, outstanding integer, scheduled bigint); plpgsql, set search_path = INTERNAL, pg_temp, set jit = off

-- function outbox_cursor_at(p_queue text, p_batch bigint)
--   returns outbox_batch; sql, stable, set search_path = INTERNAL, pg_temp

-- function outbox_dead_discard(p_queue text, p_ids bigint[], p_before timestamp with time zone)
--   returns bigint; plpgsql, set search_path = INTERNAL, pg_temp, set plan_cache_mode = force_generic_plan, set enable_seqscan = off, set jit = off

-- function outbox_dead_restore(p_incident bigint)
--   returns bigint; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_dead_retry(p_queue text, p_ids bigint[], p_before timestamp with time zone, p_by text, p_asked jsonb)
--   returns TABLE(incident bigint, rows bigint, done bigint, cancelled bigint); plpgsql, set search_path = INTERNAL, pg_temp, set plan_cache_mode = force_generic_plan, set enable_seqscan = off, set jit = off

-- function outbox_dispatched_at(queue text, batch bigint, planned timestamp with time zone)
--   returns timestamp with time zone; plpgsql, stable, set search_path = INTERNAL, pg_temp

-- function outbox_done(p_queue text, p_age interval)
--   returns bigint; sql, stable, set search_path = INTERNAL, pg_temp

-- function outbox_doubt(p_queue text, p_tenure uuid, p_base bigint)
--   returns boolean; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_duplicates(p_queue text)
--   returns bigint; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_find(task_id uuid)
--   returns TABLE(queue text, id bigint, xid xid8, deliver_at timestamp with time zone, expires_at timestamp with time zone); plpgsql, stable, set search_path = INTERNAL, pg_temp, set plan_cache_mode = force_generic_plan, set enable_seqscan = off, set jit = off

-- function outbox_forget(p_queue text, p_finish boolean)
--   returns TABLE(status text, why text); plpgsql, set search_path = INTERNAL, pg_temp, set enable_seqscan = off, set jit = off

-- function outbox_gauge()
--   returns TABLE(queue text, pending bigint, estimated boolean, oldest_ms bigint, held bigint, dead bigint, newest bigint, reached bigint, paused boolean, reason text, stopped_reason text, stopped_by text, stopped_at timestamp with time zone, relay text, consumed bigint, outstanding integer, confirmed_at timestamp with time zone, incidents bigint, unconsumed bigint, lives boolean, state text, why text, since timestamp with time zone, seen boolean); plpgsql, set search_path = INTERNAL, pg_temp, set enable_seqscan = off, set jit = off

-- function outbox_identity()
--   returns text; sql, set search_path = INTERNAL, pg_temp

-- function outbox_in_log(queue text, id bigint)
--   returns boolean; plpgsql, stable, set search_path = INTERNAL, pg_temp, set plan_cache_mode = force_generic_plan, set enable_seqscan = off, set jit = off

-- function outbox_keep_outstanding(p_segment integer)
--   returns bigint; plpgsql, set search_path = INTERNAL, pg_temp, set enable_seqscan = off, set jit = off

-- function outbox_known_in_log()
--   returns TABLE(queue text); sql, set search_path = INTERNAL, pg_temp, set enable_seqscan = off, set enable_bitmapscan = off, set jit = off

-- function outbox_log(p_queue text, p_after bigint, p_upto bigint, p_since xid8, p_tip bigint, p_seen pg_snapshot, p_snap pg_snapshot)
--   returns SETOF outbox; sql, stable

-- function outbox_lost(p_queue text, p_tenure uuid, k outbox_checkpoint, p_cause text, p_trusted bigint, p_done bigint, p_newest bigint, p_consumed bigint, p_evidence jsonb)
--   returns bigint; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_mark(p_queues text[], p_tenures uuid[], p_positions bigint[])
--   returns integer; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_move(p_queue text, p_resend boolean)
--   returns bigint; sql, set search_path = INTERNAL, pg_temp

-- function outbox_newest_batch(p_queue text, p_id bigint)
--   returns bigint; plpgsql, stable, set search_path = INTERNAL, pg_temp

-- function outbox_open(p_queue text, p_token uuid, p_destination text, p_incarnation text, p_seen uuid, p_position bigint, p_relay text, p_horizon interval, p_confirm text, p_looked bigint)
--   returns TABLE(status text, trusted bigint, done bigint, newest bigint, cause text, scheduled bigint, certified boolean, incidents integer, checkpoint bigint, facts jsonb); plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_open_after(cur outbox_batch, p_t_snap pg_snapshot)
--   returns bigint[]; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_overdue(p_segment integer, p_age interval)
--   returns TABLE(id bigint, queue text, fate text); plpgsql, set search_path = INTERNAL, pg_temp, set jit = off

-- function outbox_passed(cur outbox_batch, p_id bigint, p_xid xid8)
--   returns boolean; sql, immutable

-- function outbox_pause(p_queue text, p_reason text)
--   returns boolean; plpgsql, set search_path = INTERNAL, pg_temp, set enable_seqscan = off

-- function outbox_plan(p_queue text, p_tenure uuid, p_last bigint, p_kind text, p_relay text, p_max_rows integer, p_max_bytes bigint)
--   returns TABLE(status text, batch bigint, kind text, at timestamp with time zone, rows integer, id bigint, task_id uuid, task text, args jsonb, kwargs jsonb, headers jsonb, body bytea, priority smallint, expires_at timestamp with time zone, created_at timestamp with time zone, retried boolean); plpgsql, set search_path = INTERNAL, pg_temp, set plan_cache_mode = force_generic_plan, set enable_seqscan = off, set enable_bitmapscan = off, set enable_sort = off, set jit = off

-- function outbox_plan_ids(cur outbox_batch, p_tenure uuid, p_relay text, p_max_rows integer, p_max_bytes bigint)
--   returns text; plpgsql, set search_path = INTERNAL, pg_temp, set jit = off

-- function outbox_plan_log(cur outbox_batch, p_tenure uuid, p_relay text, p_max_rows integer, p_max_bytes bigint, OUT status text, OUT at timestamp with time zone, OUT rows integer, OUT after bigint, OUT upto bigint, OUT since xid8, OUT snap pg_snapshot)
--   returns record; plpgsql, set search_path = INTERNAL, pg_temp, set plan_cache_mode = force_generic_plan, set enable_seqscan = off, set enable_bitmapscan = off, set enable_sort = off, set jit = off

-- function outbox_purge(p_queue text, p_to text, p_held boolean, p_published boolean, p_reason text, p_by text, p_start boolean)
--   returns TABLE(incident bigint, pending bigint, held bigint, again bigint, published bigint); plpgsql, set search_path = INTERNAL, pg_temp, set enable_seqscan = off, set jit = off

-- function outbox_pushed(p_queue text, p_after bigint, p_upto bigint)
--   returns bigint; plpgsql, stable, set search_path = INTERNAL, pg_temp, set jit = off

-- function outbox_put(queue text, task text, args jsonb, kwargs jsonb, headers jsonb, body bytea, deliver_at timestamp with time zone, expires_at timestamp with time zone, priority integer, dedupe_key text, task_id uuid)
--   returns uuid; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_read(p_queue text, p_batch bigint)
--   returns TABLE(batch bigint, kind text, at timestamp with time zone, rows integer, id bigint, task_id uuid, task text, args jsonb, kwargs jsonb, headers jsonb, body bytea, priority smallint, expires_at timestamp with time zone, created_at timestamp with time zone, retried boolean); plpgsql, set search_path = INTERNAL, pg_temp, set plan_cache_mode = force_generic_plan, set enable_seqscan = off, set jit = off

-- function outbox_receipt_row(task_id uuid, outbox_id bigint)
--   returns bigint; plpgsql, set search_path = INTERNAL, pg_temp, set enable_seqscan = off, set jit = off

-- function outbox_recovered(p_queue text, p_position bigint, p_replayed bigint)
--   returns TABLE(still_open bigint, seconds double precision[]); plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_refuse()
--   returns trigger; plpgsql

-- function outbox_relay_lock(p_relay text)
--   returns bigint; sql, immutable

-- function outbox_relay_locks()
--   returns bigint[]; sql, set search_path = INTERNAL, pg_temp

-- function outbox_relays()
--   returns TABLE(alive bigint, polls boolean, last_ms bigint); plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_release(p_relay text)
--   returns integer; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_remember(p_queue text, p_tenure uuid, p_facts jsonb)
--   returns boolean; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_repair(p_horizon interval)
--   returns TABLE(queue text, rows bigint); plpgsql, set search_path = INTERNAL, pg_temp, set jit = off

-- function outbox_repair_queue(p_queue text, p_tip bigint, p_horizon interval)
--   returns bigint; plpgsql, set search_path = INTERNAL, pg_temp, set jit = off

-- function outbox_replay(p_queue text, p_since timestamp with time zone, p_until timestamp with time zone, p_first bigint, p_last bigint, p_unconsumed boolean, p_start boolean, p_by text)
--   returns TABLE(incident bigint, batches bigint, rows bigint, first bigint, last bigint); plpgsql, set search_path = INTERNAL, pg_temp, set jit = off

-- function outbox_replay_cancel(p_incident bigint)
--   returns bigint; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_resend(p_queue text, p_batch bigint)
--   returns TABLE(batch bigint, kind text, at timestamp with time zone, rows integer, id bigint, task_id uuid, task text, args jsonb, kwargs jsonb, headers jsonb, body bytea, priority smallint, expires_at timestamp with time zone, created_at timestamp with time zone, retried boolean); plpgsql, set search_path = INTERNAL, pg_temp, set jit = off

-- function outbox_resume(p_queue text)
--   returns boolean; plpgsql, set search_path = INTERNAL, pg_temp, set enable_seqscan = off

-- function outbox_resume_stopped()
--   returns SETOF text; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_ring()
--   returns trigger; plpgsql, security definer

-- function outbox_rotate(p_min_age interval, p_size bigint)
--   returns text; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_row_id(task_id uuid)
--   returns bigint; sql, immutable, set search_path = INTERNAL, pg_temp

-- function outbox_say(p_relay text, p_queues text[], p_states text[], p_reasons text[])
--   returns void; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_schedule(p_queue text, p_ids bigint[], p_incident bigint)
--   returns bigint; plpgsql, set search_path = INTERNAL, pg_temp, set plan_cache_mode = force_generic_plan, set enable_seqscan = off, set jit = off

-- function outbox_segment_needed(p_segment integer, p_age interval)
--   returns boolean; plpgsql, set search_path = INTERNAL, pg_temp, set enable_seqscan = off, set enable_bitmapscan = off, set jit = off

-- function outbox_shown(p_text text)
--   returns text; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_sign_in(p_relay text)
--   returns void; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_state(queue text, id bigint, xid xid8, task_id uuid, deliver_at timestamp with time zone, expires_at timestamp with time zone)
--   returns TABLE(state text, batch bigint, dispatched_at timestamp with time zone); plpgsql, stable, set search_path = INTERNAL, pg_temp

-- function outbox_stopped(p_queue text, p_reason text, p_relay text)
--   returns void; sql, set search_path = INTERNAL, pg_temp

-- function outbox_suspends(q outbox_queue)
--   returns boolean; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_take_over(p_queue text, p_incident bigint)
--   returns bigint; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_task_id(id bigint)
--   returns uuid; sql, set search_path = INTERNAL, pg_temp

-- function outbox_tick_is_wide(cur outbox_batch, p_t_snap pg_snapshot)
--   returns boolean; sql, stable, set search_path = INTERNAL, pg_temp

-- function outbox_tick_rows(cur outbox_batch, p_t_snap pg_snapshot, p_t_max bigint, p_hi bigint, p_max_rows integer)
--   returns SETOF outbox; plpgsql, set search_path = INTERNAL, pg_temp, set plan_cache_mode = force_generic_plan, set enable_seqscan = off, set enable_bitmapscan = off, set enable_sort = off, set jit = off

-- function outbox_trim(p_min_age interval, p_max_age interval, p_slice integer)
--   returns bigint; plpgsql, set search_path = INTERNAL, pg_temp, set enable_seqscan = off, set jit = off

-- function outbox_truncatable()
--   returns SETOF integer; sql, set search_path = INTERNAL, pg_temp

-- function outbox_truncate(p_segment integer, p_min_age interval, p_max_age interval)
--   returns text; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_undispatched(p_snap text)
--   returns TABLE(queue text); plpgsql, set search_path = INTERNAL, pg_temp, set enable_seqscan = off, set jit = off

-- function outbox_unreadable(p_task text, p_args jsonb, p_kwargs jsonb, p_headers jsonb)
--   returns text; plpgsql, set search_path = INTERNAL, pg_temp

-- function outbox_wants(p_id bigint, p_task_id uuid, p_batch bigint)
--   returns boolean; sql, stable, set search_path = INTERNAL, pg_temp

-- function outbox_without_receipt(p_queue text, p_ids bigint[])
--   returns bigint[]; sql, stable, set search_path = INTERNAL, pg_temp, set enable_seqscan = off

-- function outbox_work(p_look_for_rows boolean, p_discover boolean, p_keep boolean, p_bell bigint)
--   returns TABLE(queue text, newest bigint, reached bigint, relay text, paused boolean, resumes integer, has_rows boolean, waiting_ms bigint, next_due_ms bigint, abandoned boolean, keeper boolean, armed boolean, notify_usage double precision); plpgsql, set search_path = INTERNAL, pg_temp, set plan_cache_mode = force_generic_plan, set enable_seqscan = off, set jit = off
-- outbox_reader may execute function outbox_batch_of(text,bigint,xid8)
-- outbox_relay may execute function outbox_batch_of(text,bigint,xid8)
-- outbox_relay may execute function outbox_believed(outbox_queue,outbox_checkpoint,text,text,uuid,bigint,bigint)
-- outbox_relay may execute function outbox_bell_waits()
-- outbox_relay may execute function outbox_bury(text,bigint,bigint[],text[],text[])
-- outbox_relay may execute function outbox_bytes(text,jsonb,jsonb,jsonb,bytea)
-- outbox_relay may execute function outbox_certify(text,uuid,bigint,bigint[],uuid[],text,jsonb,interval)
-- outbox_relay may execute function outbox_confirm(text,uuid,bigint,bigint,bigint[],jsonb)
-- outbox_relay may execute function outbox_confirm_receipts(text,uuid,bigint,bigint[],interval)
-- outbox_relay may execute function outbox_cursor_at(text,bigint)
-- outbox_relay may execute function outbox_dead_discard(text,bigint[],timestamp with time zone)
-- outbox_relay may execute function outbox_dead_restore(bigint)
-- outbox_relay may execute function outbox_dead_retry(text,bigint[],timestamp with time zone,text,jsonb)
-- outbox_reader may execute function outbox_dispatched_at(text,bigint,timestamp with time zone)
-- outbox_relay may execute function outbox_dispatched_at(text,bigint,timestamp with time zone)
-- outbox_relay may execute function outbox_done(text,interval)
-- outbox_relay may execute function outbox_doubt(text,uuid,bigint)
-- outbox_relay may execute function outbox_duplicates(text)
-- outbox_relay may execute function outbox_find(uuid)
-- outbox_relay may execute function outbox_forget(text,boolean)
-- outbox_relay may execute function outbox_gauge()
-- outbox_relay may execute function outbox_identity()
-- outbox_reader may execute function outbox_in_log(text,bigint)
-- outbox_relay may execute function outbox_in_log(text,bigint)
-- outbox_relay may execute function outbox_keep_outstanding(integer)
-- outbox_relay may execute function outbox_known_in_log()
-- outbox_relay may execute function outbox_log(text,bigint,bigint,xid8,bigint,pg_snapshot,pg_snapshot)
-- outbox_relay may execute function outbox_lost(text,uuid,outbox_checkpoint,text,bigint,bigint,bigint,bigint,jsonb)
-- outbox_relay may execute function outbox_mark(text[],uuid[],bigint[])
-- outbox_relay may execute function outbox_move(text,boolean)
-- outbox_relay may execute function outbox_newest_batch(text,bigint)
-- outbox_relay may execute function outbox_open(text,uuid,text,text,uuid,bigint,text,interval,text,bigint)
-- outbox_relay may execute function outbox_open_after(outbox_batch,pg_snapshot)
-- outbox_relay may execute function outbox_overdue(integer,interval)
-- outbox_relay may execute function outbox_passed(outbox_batch,bigint,xid8)
-- outbox_relay may execute function outbox_pause(text,text)
-- outbox_relay may execute function outbox_plan(text,uuid,bigint,text,text,integer,bigint)
-- outbox_relay may execute function outbox_plan_ids(outbox_batch,uuid,text,integer,bigint)
-- outbox_relay may execute function outbox_plan_log(outbox_batch,uuid,text,integer,bigint)
-- outbox_relay may execute function outbox_purge(text,text,boolean,boolean,text,text,boolean)
-- outbox_relay may execute function outbox_pushed(text,bigint,bigint)
-- outbox_relay may execute function outbox_put(text,text,jsonb,jsonb,jsonb,bytea,timestamp with time zone,timestamp with time zone,integer,text,uuid)
-- outbox_relay may execute function outbox_read(text,bigint)
-- outbox_relay may execute function outbox_receipt_row(uuid,bigint)
-- outbox_relay may execute function outbox_recovered(text,bigint,bigint)
-- outbox_relay may execute function outbox_refuse()
-- outbox_relay may execute function outbox_relay_lock(text)
-- outbox_relay may execute function outbox_relay_locks()
-- outbox_relay may execute function outbox_relays()
-- outbox_relay may execute function outbox_release(text)
-- outbox_relay may execute function outbox_remember(text,uuid,jsonb)
-- outbox_relay may execute function outbox_repair(interval)
-- outbox_relay may execute function outbox_repair_queue(text,bigint,interval)
-- outbox_relay may execute function outbox_replay(text,timestamp with time zone,timestamp with time zone,bigint,bigint,boolean,boolean,text)
-- outbox_relay may execute function outbox_replay_cancel(bigint)
-- outbox_relay may execute function outbox_resend(text,bigint)
-- outbox_relay may execute function outbox_resume(text)
-- outbox_relay may execute function outbox_resume_stopped()
-- outbox_relay may execute function outbox_ring()
-- outbox_relay may execute function outbox_rotate(interval,bigint)
-- outbox_reader may execute function outbox_row_id(uuid)
-- outbox_relay may execute function outbox_row_id(uuid)
-- outbox_relay may execute function outbox_say(text,text[],text[],text[])
-- outbox_relay may execute function outbox_schedule(text,bigint[],bigint)
-- outbox_relay may execute function outbox_segment_needed(integer,interval)
-- outbox_reader may execute function outbox_shown(text)
-- outbox_relay may execute function outbox_shown(text)
-- outbox_relay may execute function outbox_sign_in(text)
-- outbox_reader may execute function outbox_state(text,bigint,xid8,uuid,timestamp with time zone,timestamp with time zone)
-- outbox_relay may execute function outbox_state(text,bigint,xid8,uuid,timestamp with time zone,timestamp with time zone)
-- outbox_relay may execute function outbox_stopped(text,text,text)
-- outbox_relay may execute function outbox_suspends(outbox_queue)
-- outbox_relay may execute function outbox_take_over(text,bigint)
-- outbox_relay may execute function outbox_task_id(bigint)
-- outbox_relay may execute function outbox_tick_is_wide(outbox_batch,pg_snapshot)
-- outbox_relay may execute function outbox_tick_rows(outbox_batch,pg_snapshot,bigint,bigint,integer)
-- outbox_relay may execute function outbox_trim(interval,interval,integer)
-- outbox_relay may execute function outbox_truncatable()
-- outbox_relay may execute function outbox_truncate(integer,interval,interval)
-- outbox_relay may execute function outbox_undispatched(text)
-- outbox_reader may execute function outbox_unreadable(text,jsonb,jsonb,jsonb)
-- outbox_relay may execute function outbox_unreadable(text,jsonb,jsonb,jsonb)
-- outbox_relay may execute function outbox_wants(bigint,uuid,bigint)
-- outbox_relay may execute function outbox_without_receipt(text,bigint[])
-- outbox_relay may execute function outbox_work(boolean,boolean,boolean,bigint)
-- outbox_reader may select sequence outbox_bell_seq
-- outbox_relay may select, update, usage sequence outbox_bell_seq
-- outbox_producer may usage sequence outbox_id_seq
-- outbox_reader may select sequence outbox_id_seq
-- outbox_relay may select, update, usage sequence outbox_id_seq
-- outbox_producer may select sequence outbox_segment_seq
-- outbox_reader may select sequence outbox_segment_seq
-- outbox_relay may select, update, usage sequence outbox_segment_seq
-- outbox_reader may select table outbox_batch
-- outbox_relay may delete, insert, select, truncate, update table outbox_batch
-- outbox_reader may select table outbox_checkpoint
-- outbox_relay may delete, insert, select, truncate, update table outbox_checkpoint
-- outbox_reader may select table outbox_dead
-- outbox_relay may delete, insert, select, truncate, update table outbox_dead
-- outbox_reader may select table outbox_dedupe
-- outbox_relay may delete, insert, select, truncate, update table outbox_dedupe
-- outbox_reader may select table outbox_held
-- outbox_relay may delete, insert, select, truncate, update table outbox_held
-- outbox_reader may select table outbox_incident
-- outbox_relay may delete, insert, select, truncate, update table outbox_incident
-- outbox_reader may select table outbox_lane
-- outbox_relay may delete, insert, select, truncate, update table outbox_lane
-- outbox_reader may select table outbox_meta
-- outbox_relay may delete, insert, select, truncate, update table outbox_meta
-- outbox_relay may select table outbox_migration
-- outbox_reader may select table outbox_queue
-- outbox_relay may delete, insert, select, truncate, update table outbox_queue
-- outbox_reader may select table outbox_receipt
-- outbox_relay may delete, insert, select, truncate, update table outbox_receipt
-- outbox_reader may select table outbox_s0
-- outbox_relay may delete, insert, select, truncate, update table outbox_s0
-- outbox_reader may select table outbox_s1
-- outbox_relay may delete, insert, select, truncate, update table outbox_s1
-- outbox_reader may select table outbox_s2
-- outbox_relay may delete, insert, select, truncate, update table outbox_s2
-- outbox_reader may select table outbox_s3
-- outbox_relay may delete, insert, select, truncate, update table outbox_s3
-- outbox_reader may select table outbox_s4
-- outbox_relay may delete, insert, select, truncate, update table outbox_s4
-- outbox_reader may select table outbox_s5
-- outbox_relay may delete, insert, select, truncate, update table outbox_s5
-- outbox_reader may select table outbox_s6
-- outbox_relay may delete, insert, select, truncate, update table outbox_s6
-- outbox_reader may select table outbox_s7
-- outbox_relay may delete, insert, select, truncate, update table outbox_s7
-- outbox_reader may select table outbox_segment
-- outbox_relay may delete, insert, select, truncate, update table outbox_segment
-- outbox_reader may select table outbox_tenure
-- outbox_relay may delete, insert, select, truncate, update table outbox_tenure
