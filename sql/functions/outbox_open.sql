-- outbox_open(queue, token, destination, incarnation, seen, position, relay, horizon, confirm, looked): begins a tenure.
--
-- `seen` and `position` are the marker that the relay observed (NULL: none, or not one of ours); `confirm` is observe,
-- receipt or none. Under the queue's lock, every older tenure is closed with cap = the newest ledger number, the new one
-- is inserted, and the answer is
--   status     opened | again | foreign | paused | moved | suspended
--   trusted    the position from which batches are sent again
--   done       no batch at or below needs its messages again (never below trusted): it is consumed, or, where that is not
--              tracked, was dispatched longer than `horizon` ago, and has stayed so
--   newest     the newest ledger number
--   cause      first | kept | rolled_back | missing | unknown | adopted, why trusted is what it is
--   scheduled  how many outstanding rows above the trusted position and at or below `done` were scheduled again, in this
--              transaction: they are planned anew, at the end of the ledger
--   certified  false: a boundary is to be settled before absence counts as consumption (outbox_certify)
--   incidents  how many of the queue's incidents are open
--   checkpoint the number of the newest checkpoint
--   facts      what was last seen of Redis beside the messages, and how many were pushed between that look and the trusted
--              position; NULL after a loss, which leaves nothing to compare with
-- `foreign` writes nothing: see outbox_identity, whose sentence comes as the cause.
-- `again` writes nothing: a checkpoint says more than the marker does, and it may have been written after the marker was
-- observed, by a relay that has moved the marker on since. Observe anew and call again with `looked` = its number.
-- `moved` writes nothing: the queue's destination is another one than its last, and the last one is not known to have
-- reached the newest batch: an operator decides (`outboxd queue move`). A queue that has moved starts at its new
-- destination after the batches that went to the last; a loss there does not bring those again.
-- `suspended` pauses the queue: again and again its marker was one that this database never wrote, as when a copy of
-- the database writes to the same Redis. Its tasks wait.
--
-- Commits synchronously: a token must be durable before Redis sees it.
create or replace function outbox_open(
  p_queue text, p_token uuid, p_destination text, p_incarnation text, p_seen uuid, p_position bigint,
  p_relay text, p_horizon interval, p_confirm text, p_looked bigint)
returns table (status text, trusted bigint, done bigint, newest bigint, cause text, scheduled bigint, certified boolean,
               incidents integer, checkpoint bigint, facts jsonb)
language plpgsql volatile
set search_path from current
as $$
declare
  q        outbox_queue;
  k        outbox_checkpoint;   -- the newest one
  v_seen   outbox_tenure;
  v_starts bigint;      -- batches at or below went to an earlier destination
  v_before boolean;     -- this destination was the queue's before, too
  v_life   text;        -- the incarnation of the last tenure
  v_consumed bigint;    -- what the new checkpoint says; NULL: not tracked
  v_base     bigint;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'outbox_open needs READ COMMITTED, this transaction is %', current_setting('transaction_isolation')
      using errcode = '25001';
  end if;
  if current_setting('synchronous_commit') in ('off', 'local') then
    perform set_config('synchronous_commit', 'on', true);
  end if;
  perform set_config('lock_timeout', '5s', true);
  cause := outbox_identity();
  if cause is not null then
    status := 'foreign';
    return next;
    return;
  end if;
  insert into outbox_queue (queue) values (p_queue) on conflict do nothing;
  select * into q from outbox_queue o where o.queue = p_queue for update;
  if q.paused then
    status := 'paused';
    return next;
    return;
  end if;

  -- The beginning of the ledger: a snapshot in which nothing is visible, and no id covered.
  insert into outbox_batch (queue, batch, kind, snap, tip, prev_tip, floor, open_after, rows, bytes, relay)
  select p_queue, 0, 'log', '3:3:', 0, 0, 0, '{}', 0, 0, p_relay
   where not exists (select from outbox_batch b where b.queue = p_queue)
      on conflict do nothing;
  select max(b.batch) into newest from outbox_batch b where b.queue = p_queue;
  -- What its holder is writing down at this moment counts.
  perform from outbox_tenure t where t.queue = p_queue and t.cap is null for update;
  select c.* into k from outbox_checkpoint c where c.queue = p_queue order by c.checkpoint desc limit 1;
  select t.* into v_seen from outbox_tenure t where t.token = p_seen and t.queue = p_queue;
  select b.* into trusted, cause, v_starts, v_before, v_life
    from outbox_believed(q, k, p_destination, p_incarnation, p_seen, p_position, newest) b;
  if cause = 'moved' then
    status := cause;
    return next;
    return;
  end if;
  checkpoint := k.checkpoint;
  k.facts := case when cause = 'kept' then k.facts end;
  facts := k.facts || jsonb_build_object('pushed', outbox_pushed(p_queue, (k.facts ->> 'position')::bigint, trusted));
  if cause in ('rolled_back', 'missing', 'unknown') and k.checkpoint is distinct from p_looked then
    status := 'again';
    return next;
    return;
  end if;
  if cause = 'unknown' and outbox_suspends(q) then
    status := 'suspended';
    return next;
    return;
  end if;
  update outbox_queue o set move_to = null where o.queue = p_queue and o.move_to is not null;

  -- What is consumed, or counts as done where that is not tracked.
  if p_confirm <> 'none' then
    v_consumed := case when cause in ('first', 'adopted') then trusted
                       else coalesce(k.consumed, outbox_done(p_queue, p_horizon)) end;
  end if;
  done := trusted;
  if cause in ('first', 'missing', 'unknown') then
    done := greatest(trusted, case when v_before then 0 else v_starts end);
  end if;
  if v_consumed is not null then
    done := greatest(done, v_consumed);
  elsif cause in ('missing', 'unknown') then
    done := greatest(done, outbox_done(p_queue, p_horizon));
  end if;
  -- What was trimmed from the ledger was done long ago.
  done := least(greatest(done, (select min(b.batch) from outbox_batch b where b.queue = p_queue)), newest);
  v_consumed := case when v_consumed is not null then least(v_consumed, done) end;

  -- A boundary: another life of the dataset than the one in which absence was last known to mean consumption. The
  -- marker's own tenure is asked, never the newest: one that did not reach Redis says nothing about a dataset.
  v_base := case when v_seen.incarnation = p_incarnation then least(v_seen.base, trusted) else trusted end;
  certified := p_confirm = 'none' or cause in ('first', 'adopted') or v_base = 0
            or coalesce(v_seen.incarnation = p_incarnation and v_seen.certified, false);

  update outbox_tenure t set cap = newest, closed_at = clock_timestamp() where t.queue = p_queue and t.cap is null;
  insert into outbox_tenure (token, queue, destination, incarnation, opened_batch, starts, base, certified, relay, listens)
  values (p_token, p_queue, p_destination, p_incarnation, newest, v_starts, v_base, certified, p_relay,
          not pg_try_advisory_xact_lock(outbox_relay_lock(p_relay)));
  scheduled := outbox_lost(p_queue, p_token, k, cause, trusted, done, newest, v_consumed,
                           jsonb_build_object('marker', p_seen, 'position', p_position, 'incarnation', p_incarnation,
                                              'incarnation_before', v_life));
  select count(*) into incidents from outbox_incident i
   where i.queue = p_queue and i.recovered_at is null and i.cancelled_at is null;
  status := 'opened';
  return next;
end
$$;
