-- outbox_work(look_for_rows, discover, keep, bell): what there is to do, for every queue, in one statement.
--
-- One row per queue: its newest ledger number, the newest checkpoint's position, its last relay, whether rows wait in
-- the log (NULL if not asked) and for how long one of them has, when the next held row is due (milliseconds from now,
-- negative: overdue, NULL: none). Then one row with queue NULL: whether this session keeps the bell, until when a relay
-- sleeps (seconds since 1970), and how full the notification queue is (0 to 1).
--   look_for_rows  asks the reader's three ranges, at the present moment
--   discover       looks for queues in the log that outbox_queue does not know, and adds them
--   keep           tries to become the keeper of the bell (only on a session that is not pooled), or stays it
--   bell           NULL, or the value to set: 1 awake, otherwise the deadline until which the keeper sleeps;
--                  obeyed only from the keeper
-- Takes no xid unless a queue is discovered (and, before PostgreSQL 15, when the bell is set).
create or replace function outbox_work(p_look_for_rows boolean, p_discover boolean, p_keep boolean, p_bell bigint)
returns table (queue text, newest bigint, reached bigint, relay text, paused boolean, resumes integer,
               has_rows boolean, waiting_ms bigint, next_due_ms bigint,
               keeper boolean, bell bigint, notify_usage double precision)
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
declare
  v_all constant bigint  := 9223372036854775807;
  v_key constant integer := ('outbox_bell_seq'::regclass::oid::bigint & 2147483647)::integer;
begin
  if p_discover then
    insert into outbox_queue (queue)
    select d.queue from outbox_known_in_log() d
     where not exists (select from outbox_queue k where k.queue = d.queue)
        on conflict do nothing;
  end if;

  return query
    select k.queue, b.batch, c.position, b.relay, k.paused, k.resumes,
           case when p_look_for_rows then b.batch is null or b.t_snap is not null or r.created_at is not null end,
           (extract(epoch from clock_timestamp() - r.created_at) * 1000)::bigint,
           (extract(epoch from h.due - clock_timestamp()) * 1000)::bigint,
           null::boolean, null::bigint, null::double precision
      from outbox_queue k
      left join lateral (select b.* from outbox_batch b where b.queue = k.queue order by b.batch desc limit 1) b on true
      left join lateral (select c.position from outbox_checkpoint c where c.queue = k.queue
                          order by c.checkpoint desc limit 1) c on true
      left join lateral (select h.due from outbox_held h
                          where h.queue = k.queue and h.batch is null and h.cancelled_at is null
                          order by h.due, h.id limit 1) h on true
      left join lateral (select t.created_at from outbox_tick_rows(b, pg_current_snapshot(), v_all, v_all, 1) t
                          where p_look_for_rows and b.batch is not null and b.t_snap is null and not k.paused) r on true
     order by k.queue;

  if p_keep then
    -- The lock's key is the bell's own oid: one keeper per outbox, however many live in the database. Asked for by
    -- look-up first, because every success of a session lock would add a level.
    keeper := exists (select from pg_locks l
                       where l.locktype = 'advisory' and l.pid = pg_backend_pid() and l.granted and l.objsubid = 2
                         and l.classid = 1331984232 and l.objid::bigint = v_key)
              or pg_try_advisory_lock(1331984232, v_key);
  else
    keeper := false;
  end if;
  if keeper and p_bell is not null then
    perform setval('outbox_bell_seq', p_bell);
  end if;
  bell := pg_sequence_last_value('outbox_bell_seq'::regclass);
  notify_usage := pg_notification_queue_usage();
  return next;
end
$$;
