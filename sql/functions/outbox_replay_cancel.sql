-- outbox_replay_cancel(incident): takes back what an operator's replay has scheduled and the relay has not planned yet.
-- Answers how many rows; NULL: there is no such replay, or it is over.
--
-- Rows that something else needs stay scheduled: those that a loss has taken over since (outbox_take_over), and those
-- whose only copy was made for the replay, because their segment is gone. Rows of a retry (outbox_dead_retry) are dead again.
create or replace function outbox_replay_cancel(p_incident bigint)
returns bigint
language plpgsql volatile
set search_path from current
as $$
declare
  v_queue text;
  v_retry boolean;
  v_rows  bigint;
  v_gone  bigint;
begin
  perform set_config('lock_timeout', '5s', true);
  select i.queue, i.evidence ? 'retry' into v_queue, v_retry from outbox_incident i where i.incident = p_incident;
  -- An opening and a boundary count on what is scheduled: they wait for this commit, and the reverse.
  perform from outbox_queue q where q.queue = v_queue for update;
  perform from outbox_tenure t where t.queue = v_queue and t.cap is null for update;
  update outbox_incident i set cancelled_at = clock_timestamp()
   where i.incident = p_incident and i.cause = 'operator' and i.recovered_at is null and i.cancelled_at is null;
  if not found then
    return null;
  end if;
  if v_retry then
    v_rows := outbox_dead_restore(p_incident);
  else
    -- A copy that was there before stands for its row again in the batch in which it did.
    update outbox_held h set batch = h.was_batch, incident = h.was_incident
     where h.incident = p_incident and h.batch is null and h.was_batch is not null;
    get diagnostics v_rows = row_count;
    -- The others count as dispatched again: the log holds them.
    delete from outbox_held h where h.incident = p_incident and h.batch is null and outbox_in_log(h.queue, h.id);
    get diagnostics v_gone = row_count;
    v_rows := v_rows + v_gone;
  end if;
  update outbox_incident i set scheduled = i.scheduled - v_rows where i.incident = p_incident;
  return v_rows;
end
$$;
