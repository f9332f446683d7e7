-- outbox_replay(queue, since, until, first, last, unconsumed, start, by): an operator's replay: schedules again what was
-- dispatched in a range of time (of planning) or of batches; NULL: no bound. `unconsumed`: only what is not known to be
-- consumed. Rows that a receipt proves consumed, dead and cancelled ones never are. Without `start` it only counts.
-- Answers the incident that stands for it (NULL: none), how many batches and rows the range holds, and the batches' ends.
create or replace function outbox_replay(
  p_queue text, p_since timestamptz, p_until timestamptz, p_first bigint, p_last bigint,
  p_unconsumed boolean, p_start boolean, p_by text)
returns table (incident bigint, batches bigint, rows bigint, first bigint, last bigint)
language plpgsql volatile
set search_path from current
set jit = off
as $$
declare
  k     outbox_checkpoint;
  v_ids bigint[];
begin
  perform set_config('lock_timeout', '5s', true);
  if p_start then
    perform from outbox_queue q where q.queue = p_queue for update;
  else
    -- Counting must not keep the relay from planning.
    perform from outbox_queue q where q.queue = p_queue;
  end if;
  if not found then
    return;
  end if;
  select c.* into k from outbox_checkpoint c where c.queue = p_queue order by c.checkpoint desc limit 1;
  select count(*), min(b.batch), max(b.batch) into batches, first, last
    from outbox_batch b
   where b.queue = p_queue and b.batch <= k.position and b.rows > 0
     and b.at >= coalesce(p_since, '-infinity') and b.at <= coalesce(p_until, 'infinity')
     and b.batch between coalesce(p_first, 1) and coalesce(p_last, k.position);
  select array_agg(r.id), count(*) into v_ids, rows
    from outbox_batch b
   cross join lateral outbox_resend(p_queue, b.batch) r
   where b.queue = p_queue and b.batch between first and last and b.rows > 0
     and b.at >= coalesce(p_since, '-infinity') and b.at <= coalesce(p_until, 'infinity')
     and r.id is not null
     and not exists (select from outbox_dead d where d.id = r.id)
     and not coalesce(p_unconsumed and b.batch <= k.consumed and r.id <> all(k.outstanding), false);
  if p_start and rows > 0 then
    insert into outbox_incident as i (queue, destination, cause, evidence, relay, position_before, newest)
    select p_queue, coalesce(max(t.destination), ''), 'operator',
           jsonb_build_object('since', p_since, 'until', p_until, 'first', first, 'last', last, 'unconsumed', p_unconsumed),
           p_by, k.position, (select max(b.batch) from outbox_batch b where b.queue = p_queue)
      from outbox_tenure t where t.queue = p_queue and t.cap is null
    returning i.incident into incident;
    rows := outbox_schedule(p_queue, v_ids, incident);
    update outbox_incident i set scheduled = rows, outstanding = rows, duplicates_possible = rows
     where i.incident = outbox_replay.incident;
    perform pg_notify('outbox', '');
  end if;
  return next;
end
$$;
