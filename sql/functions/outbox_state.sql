-- outbox_state(queue, id, xid, task_id, deliver_at, expires_at): where one row stands. xid is NULL for a row that is
-- not in the log. Behind outbox_status and outbox_rows; at a state that changes while one looks, either answer is right.
--
--   held        has a deliver_at and is not planned yet
--   pending     waits to be planned, or to be published; again after a loss
--   dispatched  the marker has passed its batch, says the newest checkpoint
--   consumed    a receipt or a checkpoint says so
--   expired     its expires_at came first: not published
--   dead        in outbox_dead
--   cancelled   never published
-- batch is the newest one that is known to hold it; dispatched_at is about a second late.
create or replace function outbox_state(
  queue text, id bigint, xid xid8, task_id uuid, deliver_at timestamptz, expires_at timestamptz)
returns table (state text, batch bigint, dispatched_at timestamptz)
language plpgsql stable
set search_path from current
as $$
declare
  v_held    boolean;
  v_expires timestamptz;        -- the copy's, if there is one: a retry of a dead row clears it there
  v_again   boolean;            -- scheduled again after a loss
  v_cancel  timestamptz;
  v_passed  boolean := false;   -- the planner has passed it in the log, and its copy is gone: it was done
  v_planned timestamptz;
  v_mark    outbox_checkpoint;
begin
  select d.batch into batch from outbox_dead d where d.id = outbox_state.id;
  if found then
    state := 'dead';
    return next;
    return;
  end if;

  select h.batch, h.cancelled_at, h.incident is not null, h.expires_at into batch, v_cancel, v_again, v_expires
    from outbox_held h where h.id = outbox_state.id;
  v_held := found;
  if not v_held then
    v_expires := outbox_state.expires_at;
  end if;
  if batch is null and v_cancel is null and v_again is not true and outbox_state.xid is not null then
    batch := outbox_batch_of(outbox_state.queue, outbox_state.id, outbox_state.xid);
    if outbox_state.deliver_at is not null then
      v_passed := batch is not null and not v_held;
      batch := null;
    end if;
  end if;

  select b.at into v_planned from outbox_batch b where b.queue = outbox_state.queue and b.batch = outbox_state.batch;
  select c.* into v_mark from outbox_checkpoint c where c.queue = outbox_state.queue order by c.checkpoint desc limit 1;
  state := case
    when v_cancel is not null then 'cancelled'
    when exists (select from outbox_receipt r where r.task_id = outbox_state.task_id and r.acked_row = outbox_state.id) then 'consumed'
    when v_passed then 'dispatched'
    when batch is null and v_expires <= clock_timestamp() then 'expired'
    when batch is null and outbox_state.deliver_at is not null and v_again is not true then 'held'
    when batch is null then 'pending'
    when v_expires <= v_planned then 'expired'
    when v_mark.consumed >= batch and outbox_state.id <> all(coalesce(v_mark.outstanding, '{}')) then 'consumed'
    when v_mark.position >= batch then 'dispatched'
    -- What the trimmed ledger no longer tells apart was done long ago.
    when batch <= (select b.batch from outbox_batch b where b.queue = outbox_state.queue order by b.batch limit 1) then 'dispatched'
    else 'pending' end;
  if state in ('dispatched', 'consumed') and v_planned is not null then
    dispatched_at := outbox_dispatched_at(outbox_state.queue, batch, v_planned);
  end if;
  return next;
end
$$;
