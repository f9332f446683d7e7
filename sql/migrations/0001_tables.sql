-- The tables of outboxd. Forward-only; immutable once released.
--
-- Names are unqualified: whoever runs this file sets search_path to the schema of the machinery first, and puts the
-- application's schema before the name of the log. The log alone stands there; its partitions stand here.
-- Nothing here needs superuser, CREATEROLE or an extension. PostgreSQL 14 and later.

-- The id of a row in the log. CACHE 1, because the order of ids is the order of insertion.
-- The limit leaves the room that a task id needs to embed the row id.
create sequence outbox_id_seq as bigint cache 1 maxvalue 576460752303423487;

-- The segment that producers write to: only ever moved by setval, under one lock (nextval jumps after a crash).
create sequence outbox_segment_seq as smallint minvalue 0 maxvalue 7 start 0 cache 1;
select setval('outbox_segment_seq', 0);

-- The doorbell: until when (seconds since 1970) a relay sleeps and wants to be rung for.
-- 1 means "awake". Unlogged where the server can (15+), so that setting it writes no WAL and takes no xid;
-- after a crash it then reads NULL, which counts as "asleep".
do $$
begin
  if current_setting('server_version_num')::int >= 150000 then
    create unlogged sequence outbox_bell_seq as bigint minvalue 0 start 1 cache 1;
  else
    create sequence outbox_bell_seq as bigint minvalue 0 start 1 cache 1;
  end if;
end
$$;
select setval('outbox_bell_seq', 1);

-- log {   `migrate up` makes again what stands between these braces, if somebody has dropped the table.
-- The log. Append-only: no row is ever updated or deleted; a segment that is consumed is truncated.
-- Column order matters: xid is taken before id (the reader's proof needs it), and nothing that could
-- itself enqueue may be evaluated between id and task_id (task_id is made from that very id).
-- What a row may hold is checked by the trigger outbox_refuse, with a sentence for every mistake. Not by CHECK
-- constraints: the server compiles each of them again for every statement, 16 us for the seven that this would take,
-- where the insert of one row costs 9 us and the trigger 2 us.
create table /*app.*/outbox (
  xid        xid8        not null default pg_current_xact_id(),
  id         bigint      not null default nextval('outbox_id_seq'),
  task_id    uuid        not null default
    (encode(int8send(((currval('outbox_id_seq') >> 12) << 16) | 32768 | (currval('outbox_id_seq') & 4095)), 'hex')
     || substr(gen_random_uuid()::text, 20))::uuid,
  segment    smallint    not null default pg_sequence_last_value('outbox_segment_seq'::regclass)::smallint,
  queue      text        not null,
  task       text        not null default '',
  args       jsonb       not null default '[]',
  kwargs     jsonb       not null default '{}',
  headers    jsonb       not null default '{}',
  body       bytea,
  priority   smallint,
  deliver_at timestamptz,
  expires_at timestamptz,
  created_at timestamptz not null default clock_timestamp()
) partition by list (segment);

-- Uncompressed, so that pg_column_size is the true size wherever a batch is cut by bytes (outbox_refuse unpacks what
-- comes compressed out of another table), and no time is spent compressing what lives for an hour. Set before the
-- children are made: they inherit it.
alter table /*app.*/outbox
  alter column args set storage external, alter column kwargs set storage external,
  alter column headers set storage external, alter column body set storage external;

do $$
begin
  for s in 0 .. 7 loop
    execute format('create table outbox_s%s partition of %s for values in (%s) with (autovacuum_enabled = off, toast.autovacuum_enabled = off)',
                   s, $name$/*app.*/outbox$name$, s);
    -- xid as a key column, so that the reader filters inside the index.
    execute format('create index outbox_s%s_queue on outbox_s%s (queue, id, xid)', s, s);
    -- Only rows whose caller chose the task id: all others are found through the id that theirs embeds.
    execute format('create index outbox_s%s_task on outbox_s%s (task_id)
      where substr(uuid_send(task_id), 1, 8) <> int8send(((id >> 12) << 16) | 32768 | (id & 4095))', s, s);
  end loop;
end
$$;
-- } log

-- One row per segment: when it was opened, sealed and last truncated. Written by rotation only.
create table outbox_segment (
  segment      smallint primary key,
  opened_at    timestamptz,
  sealed_at    timestamptz,
  truncated_at timestamptz
);
insert into outbox_segment (segment, opened_at) select s, case s when 0 then clock_timestamp() end from generate_series(0, 7) s;

-- One static row per queue, made by the relay that discovers it. FOR UPDATE SKIP LOCKED on it is the claim.
create table outbox_queue (
  queue          text primary key,
  paused         boolean     not null default false,
  reason         text,
  paused_at      timestamptz,
  -- Why a relay stopped the queue by itself (WRONGTYPE, NOPERM ..), for operators; cleared by resume.
  stopped_reason text,
  stopped_by     text,
  stopped_at     timestamptz,
  -- How often an operator said "resume": a relay that stopped a queue starts again when this moves.
  resumes        integer     not null default 0,
  -- The ledger number at which a new destination starts, once an operator has decided (outboxd queue move).
  move_to        bigint,
  discovered_at  timestamptz not null default clock_timestamp()
);

-- What the relay that serves a queue says it is doing, for operators: written when it changes, by the relay alone.
-- Believed only while that relay lives (outbox_gauge). No row: no relay is doing anything about the queue.
create table outbox_lane (
  queue   text        primary key,
  relay   text        not null,
  listens boolean     not null,   -- whether the relay held its lock then (outbox_relay_lock): only then the lock tells whether it lives
  state   text        not null,   -- as in the metric outboxd_queue_state
  reason  text,                   -- why it waits
  since   timestamptz not null default clock_timestamp()
);

-- The ledger. Insert-only, numbered without gaps per queue; the newest entry is the queue's cursor.
-- Batch 0 is the beginning: nothing read yet. Each entry holds the cursor AFTER it.
create table outbox_batch (
  queue      text        not null,
  batch      bigint      not null,
  kind       text        not null check (kind in ('log', 'ids')),
  tenure     uuid,
  snap       pg_snapshot not null,   -- the snapshot of the last finished tick
  tip        bigint      not null,   -- the highest id covered by that tick,
  prev_tip   bigint      not null,   --   by the one before,
  floor      bigint      not null,   --   and by the one before that
  open_after bigint[]    not null,   -- for each transaction running in snap (in the order of pg_snapshot_xip): its rows lie after this id
  t_snap     pg_snapshot,            -- inside a tick: its snapshot,
  t_max      bigint,                 --   the highest id that it covers,
  pos        bigint,                 --   and the last id planned so far
  ids        bigint[],               -- kind ids: the rows, in order
  rows       integer     not null,
  bytes      bigint      not null,
  relay      text        not null,
  at         timestamptz not null default clock_timestamp(),
  primary key (queue, batch),
  check ((t_snap is null) = (t_max is null) and (t_snap is null) = (pos is null)),
  check ((kind = 'ids') = (ids is not null))
);

-- What a marker under this token may be believed. cap is null while the tenure is its queue's current one.
create table outbox_tenure (
  token            uuid        primary key,
  queue            text        not null,
  destination      text        not null,   -- server, DB and key; never a credential
  incarnation      text        not null,   -- run id and replication id of the Redis it was opened on
  opened_batch     bigint      not null,   -- the newest ledger number when it was inserted
  cap              bigint,                 -- the newest ledger number when it was closed
  starts           bigint      not null default 0,  -- batches at or below went to an earlier destination
  base             bigint,                 -- with certified: the boundary of an incarnation that is not yet settled
  base_incarnation text,
  certified        boolean     not null default false,
  relay            text        not null,
  opened_at        timestamptz not null default clock_timestamp(),
  closed_at        timestamptz
);
create unique index outbox_tenure_current on outbox_tenure (queue) where cap is null;
create index outbox_tenure_queue on outbox_tenure (queue, opened_at);

-- Evidence, insert-only: how far the marker had come, and what was consumed by then.
create table outbox_checkpoint (
  queue       text        not null,
  checkpoint  bigint      generated always as identity,
  position    bigint      not null,
  consumed    bigint,                -- every batch at or below is consumed, except
  outstanding bigint[],              --   these rows; both null until consumption is tracked
  evidence    text        not null,
  at          timestamptz not null default clock_timestamp(),
  primary key (queue, checkpoint)
);

-- Full copies of rows that wait for a time, or that outlive their segment. Small and mutable.
create table outbox_held (
  id           bigint      primary key,
  task_id      uuid        not null,
  queue        text        not null,
  task         text        not null,
  args         jsonb       not null,
  kwargs       jsonb       not null,
  headers      jsonb       not null,
  body         bytea,
  priority     smallint,
  deliver_at   timestamptz,
  expires_at   timestamptz,
  created_at   timestamptz not null,
  due          timestamptz not null,
  batch        bigint,               -- the newest batch of kind ids that planned it
  cancelled_at timestamptz
);
create index outbox_held_due on outbox_held (queue, due, id) where batch is null and cancelled_at is null;
create index outbox_held_task on outbox_held (task_id);
create index outbox_held_batch on outbox_held (queue, batch) where batch is not null;

-- Rows that cannot be published, or whose worker gave up: the full row and why.
create table outbox_dead (
  id              bigint      primary key,
  task_id         uuid        not null,
  queue           text        not null,
  task            text        not null,
  args            jsonb       not null,
  kwargs          jsonb       not null,
  headers         jsonb       not null,
  body            bytea,
  priority        smallint,
  deliver_at      timestamptz,
  expires_at      timestamptz,
  created_at      timestamptz not null,
  batch           bigint,
  error_class     text        not null,
  error           text        not null,
  attempts        integer     not null default 1,
  first_failed_at timestamptz not null default clock_timestamp(),
  last_failed_at  timestamptz not null default clock_timestamp()
);
create index outbox_dead_queue on outbox_dead (queue, last_failed_at);
create index outbox_dead_task on outbox_dead (task_id);

-- An observed loss: what was lost, the evidence, what was put back.
create table outbox_incident (
  incident            bigint      generated always as identity primary key,
  queue               text        not null,
  destination         text        not null,
  cause               text        not null,
  evidence            jsonb       not null default '{}',
  relay               text        not null,
  noticed_at          timestamptz not null default clock_timestamp(),
  position_before     bigint,
  position_trusted    bigint,
  newest              bigint,
  outstanding         bigint,
  replayed            bigint      not null default 0,
  duplicates_possible bigint,
  recovered_at        timestamptz
);
create index outbox_incident_queue on outbox_incident (queue, noticed_at);

create table outbox_dedupe (
  queue      text        not null,
  key        text        not null,
  task_id    uuid        not null,
  expires_at timestamptz not null,
  primary key (queue, key)
);
create index outbox_dedupe_expires on outbox_dedupe (expires_at);
-- outbox_cancel frees the key of the task that it cancels.
create index outbox_dedupe_task on outbox_dedupe (task_id);

-- Receipts of workers: outbox_ack and outbox_once. A caller can use a task id twice, so a receipt says which row is done.
create table outbox_receipt (
  task_id   uuid   not null,
  outbox_id bigint not null default 0,   -- the row that the worker named; 0: it named the task id alone
  acked_at  timestamptz,
  acked_row bigint,                      -- the row that is done because of acked_at; null: it cannot be told
  once_at   timestamptz,
  once_row  bigint,                      -- the same for once_at
  primary key (task_id, outbox_id)
);

-- One row, never updated. witness equals the row's own xmin for as long as the xids in this database are
-- the ones it was made with: through freezing, failover and pg_upgrade, not through dump and restore.
create table outbox_meta (
  singleton    boolean     primary key default true check (singleton),
  installation uuid        not null default gen_random_uuid(),
  witness      xid8        not null default pg_current_xact_id(),
  created_at   timestamptz not null default clock_timestamp()
);
insert into outbox_meta default values;
