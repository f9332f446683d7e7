-- What a loss needs: rows that are scheduled again, and incidents that say which and why.

-- Suspensions count only what happened since an operator last said "resume".
alter table outbox_queue add column resumed_at timestamptz;

-- The incident for which a copy was scheduled again; such a row was published before.
alter table outbox_held add column incident bigint;
-- What it was before: an operator may take a replay back.
alter table outbox_held add column was_batch bigint;
alter table outbox_held add column was_incident bigint;
create index outbox_held_incident on outbox_held (incident) where incident is not null;

-- How many rows were scheduled again, as batches of kind ids at the end of the ledger.
alter table outbox_incident add column scheduled bigint not null default 0;
alter table outbox_incident add column cancelled_at timestamptz;
create index outbox_incident_open on outbox_incident (queue) where recovered_at is null and cancelled_at is null;

-- What was seen of Redis beside the messages (keys evicted, commands called), for the relay that compares with it later.
alter table outbox_checkpoint add column facts jsonb;

-- Every tenure has a base: what stands at or below, and not in Redis, may have been lost when its incarnation began. Up to
-- now nothing went by it.
alter table outbox_tenure drop column base_incarnation;

-- Whether the relay's listening session held its lock (outbox_relay_lock) when it opened: only then the lock tells whether
-- the relay still lives.
alter table outbox_tenure add column listens boolean not null default false;

-- Their answers or arguments have changed.
drop function if exists outbox_open(text, uuid, text, text, uuid, bigint, text, interval);
drop function if exists outbox_gauge();
drop function if exists outbox_work(boolean, boolean, boolean, bigint);
drop function if exists outbox_plan_log(outbox_batch, uuid, text, integer, bigint);
drop function if exists outbox_overdue(integer, interval);
