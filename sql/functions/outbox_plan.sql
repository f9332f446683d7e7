-- outbox_plan(queue, tenure, last, kind, relay, max_rows, max_bytes): decides the next batch and writes it to the ledger.
--
-- Answers with outbox_read's rows of the new batch, behind a first row with a status:
--   planned  the batch is in the ledger as soon as this transaction commits
--   more     the same, and the tick that it belongs to has rows left: plan again at once
--   idle     there is nothing to plan
--   busy     another relay holds the queue at this moment, or an application a row that must be copied
--   paused   an operator paused the queue
--   open     the tenure is not the queue's newest, or `last` is not the newest ledger number: open first
-- Only `planned` and `more` write anything.
--
-- Must be the only statement of an explicit READ COMMITTED transaction: the reader's proof needs one queue per
-- transaction and no xid before the lock. The commit is asynchronous: if a crash loses the newest entries, they are
-- planned and published again, and the relay notices by `last`.
create or replace function outbox_plan(
  p_queue text, p_tenure uuid, p_last bigint, p_kind text, p_relay text, p_max_rows integer, p_max_bytes bigint)
returns table (status text, batch bigint, kind text, at timestamptz, rows integer,
               id bigint, task_id uuid, task text, args jsonb, kwargs jsonb, headers jsonb, body bytea,
               priority smallint, expires_at timestamptz, created_at timestamptz, retried boolean)
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
  v_paused boolean;
  v_tenure uuid;
  cur      outbox_batch;
  nxt      record;
  v_after  bigint;
begin
  if pg_current_xact_id_if_assigned() is not null then
    raise exception 'outbox_plan needs a transaction of its own, but this one has an xid already' using errcode = '25001';
  end if;
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'outbox_plan needs READ COMMITTED, this transaction is %', current_setting('transaction_isolation')
      using errcode = '25001';
  end if;
  -- A SET clause of the function would have no effect at commit.
  perform set_config('synchronous_commit', 'off', true);
  -- Copying a delayed row waits for a transaction that is cancelling it at this moment: not for long, the relay asks again.
  perform set_config('lock_timeout', '100ms', true);

  select q.paused into v_paused from outbox_queue q where q.queue = p_queue for update skip locked;
  if not found then
    status := 'busy';
    return next;
    return;
  elsif v_paused then
    status := 'paused';
    return next;
    return;
  end if;

  -- New statements, hence new snapshots: what the last holder of the lock committed is seen.
  select t.token into v_tenure from outbox_tenure t where t.queue = p_queue and t.cap is null;
  select b.* into cur from outbox_batch b where b.queue = p_queue order by b.batch desc limit 1;
  if v_tenure is distinct from p_tenure or cur.batch is distinct from p_last then
    status := 'open';
    return next;
    return;
  end if;

  if p_kind = 'ids' then
    status := outbox_plan_ids(cur, p_tenure, p_relay, p_max_rows, p_max_bytes);
  else
    nxt := outbox_plan_log(cur, p_tenure, p_relay, p_max_rows, p_max_bytes);
    status := nxt.status;
    v_after := nxt.after;
  end if;
  if status in ('idle', 'busy') then
    return next;
  elsif v_after is null then
    return query select status, r.* from outbox_read(p_queue, p_last + 1) r;
  else
    -- The same rows as outbox_read's, without asking the ledger for what is known.
    batch := p_last + 1;
    kind := 'log';
    at := nxt.at;
    rows := nxt.rows;
    return next;
    return query
      select null::text, null::bigint, null::text, null::timestamptz, null::integer,
             r.id, r.task_id, r.task, r.args, r.kwargs, r.headers, r.body, r.priority, r.expires_at, r.created_at,
             false
        from outbox_log(p_queue, v_after, nxt.upto, nxt.since, cur.tip, cur.snap, nxt.snap) r
       where r.deliver_at is null
       order by r.id;
  end if;
end
$$;
