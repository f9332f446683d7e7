-- outbox_work(look_for_rows, discover, keep, bell): what there is to do, for every queue, in one statement.
--
-- One row per queue: its newest ledger number, the newest checkpoint's position, the relay of its current tenure,
-- whether the log is to be planned (NULL if not asked): because rows wait, and for how long with nothing planned
-- meanwhile, or because an empty tick would make looking cheap again; when the next held row is due (milliseconds from
-- now, negative: overdue, NULL: none); whether something in Redis is to be watched and no living relay holds the queue:
-- nobody opened it since a relay left it in good order, or the one that did has ended. Then one row with queue NULL: whether this call became
-- the keeper of the bell, whether a commit would ring it now, and how full the notification queue is (0 to 1).
--   look_for_rows  asks the reader's three ranges, at the present moment
--   discover       looks for queues in the log that outbox_queue does not know, and adds them
--   keep           tries to become the keeper of the bell: only on a session that is not pooled, and only from a relay
--                  that is not the keeper yet (every success of a session lock adds a level)
--   bell           NULL, or for how many seconds from now commits shall ring (0: a relay is awake, they need not);
--                  set before anything is looked at; only the keeper passes it
-- Takes no xid unless a queue is discovered (and, before PostgreSQL 15, when the bell is set).
create or replace function outbox_work(p_look_for_rows boolean, p_discover boolean, p_keep boolean, p_bell bigint)
returns table (queue text, newest bigint, reached bigint, relay text, paused boolean, resumes integer,
               has_rows boolean, waiting_ms bigint, next_due_ms bigint, abandoned boolean,
               keeper boolean, armed boolean, notify_usage double precision)
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
declare
  v_all    constant bigint :=  9223372036854775807;
  v_keeper boolean := false;
begin
  if p_keep then
    -- The lock's key is the bell's own oid: one keeper per outbox, however many live in the database.
    v_keeper := pg_try_advisory_lock(1331984232, ('outbox_bell_seq'::regclass::oid::bigint & 2147483647)::integer);
  end if;
  if p_bell is not null then
    perform setval('outbox_bell_seq',
                   case p_bell when 0 then 1 else extract(epoch from clock_timestamp())::bigint + p_bell end);
  end if;

  if p_discover then
    insert into outbox_queue (queue)
    select d.queue from outbox_known_in_log() d
     where not exists (select from outbox_queue k where k.queue = d.queue)
       -- A name that no relay can read would fail this statement, and so stop every queue.
       and (getdatabaseencoding() = 'UTF8' or outbox_unreadable(d.queue, null, null, null) is null)
        on conflict do nothing;
  end if;

  return query
    select k.queue, b.batch, c.position, e.relay, k.paused, k.resumes,
           case when p_look_for_rows
                then b.batch is null or b.t_snap is not null or r.created_at is not null
                     or case when (b.tip - b.floor > 20000 or cardinality(b.open_after) > 0) and not k.paused
                             then outbox_tick_is_wide(b, pg_current_snapshot()) else false end end,
           -- A row waits since it was inserted, but not for longer than the queue's relay has shown no sign of life: a
           -- backlog is no reason to take its queue away. Inside a tick there are rows left to plan, whatever their age.
           (extract(epoch from clock_timestamp()
                               - case when r.created_at is not null or b.t_snap is not null
                                      then least(greatest(r.created_at, b.at, e.opened_at), clock_timestamp()) end) * 1000)::bigint,
           -- Within bounds: one row with a time at infinity must not fail the statement for all queues.
           (extract(epoch from case when h.due is not null
                                    then least(greatest(h.due, '1900-01-01 00:00:00+00'), '9000-01-01 00:00:00+00') end
                               - clock_timestamp()) * 1000)::bigint,
           case when (c.consumed < b.batch or c.outstanding <> '{}') and e.token is not null
                then case when e.relay = '' then true
                          when e.listens then pg_try_advisory_xact_lock(outbox_relay_lock(e.relay))
                          else false end
                else false end,
           null::boolean, null::boolean, null::double precision
      from outbox_queue k
      left join lateral (select b.* from outbox_batch b where b.queue = k.queue order by b.batch desc limit 1) b on true
      left join outbox_tenure e on e.queue = k.queue and e.cap is null
      left join lateral (select c.position, c.consumed, c.outstanding from outbox_checkpoint c where c.queue = k.queue
                          order by c.checkpoint desc limit 1) c on true
      left join lateral (select h.due from outbox_held h
                          where h.queue = k.queue and h.batch is null and h.cancelled_at is null
                          order by h.due, h.id limit 1) h on true
      -- A CASE, because a WHERE would call the reader and throw its answer away. Whatever it finds lies in the range that
      -- is asked for first: nearly always nothing does, and asking that way costs a tenth.
      cross join lateral (select case
             when p_look_for_rows and b.batch is not null and b.t_snap is null and not k.paused
                  and exists (select from /*app.*/outbox o
                               where o.queue = k.queue and o.xid >= pg_snapshot_xmin(b.snap)
                                 and o.id > least(b.floor, (select min(a) from unnest(b.open_after) a)))
             then (select t.created_at from outbox_tick_rows(b, pg_current_snapshot(), v_all, v_all, 1) t)
             end as created_at) r
     order by k.queue;

  keeper := v_keeper;
  armed := coalesce(pg_sequence_last_value('outbox_bell_seq'::regclass) > extract(epoch from clock_timestamp()), true);
  notify_usage := pg_notification_queue_usage();
  return next;
end
$$;
