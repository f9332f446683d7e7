-- outbox_confirm_receipts(queue, tenure, position, present, timeout): a checkpoint by receipts, positive evidence only.
--
-- Walks the ledger on from the last checkpoint for as long as few rows are without a receipt (or dead, or expired). Rows
-- that have none `timeout` after they were planned, and are not `present` (NULL: it is not known what stands in Redis,
-- so none is overdue), are scheduled again. Answers the batch below which everything but the outstanding rows is
-- consumed, how many are outstanding, and how many were scheduled; no row: the tenure is not the current one.
create or replace function outbox_confirm_receipts(
  p_queue text, p_tenure uuid, p_position bigint, p_present bigint[], p_timeout interval)
returns table (consumed bigint, outstanding integer, scheduled bigint)
language plpgsql volatile
set search_path from current
set jit = off
as $$
declare
  v_most constant integer := 1000;
  t      outbox_tenure;
  k      outbox_checkpoint;
  v_out  bigint[];
  v_more bigint[];
  v_late bigint[];
  v_read integer := 0;
  v_incident bigint;
begin
  perform set_config('lock_timeout', '5s', true);
  -- As in outbox_mark.
  select e.* into t from outbox_tenure e
   where e.token = p_tenure and e.queue = p_queue and e.cap is null and e.certified for no key update;
  if not found then
    return;
  end if;
  select c.* into k from outbox_checkpoint c where c.queue = p_queue order by c.checkpoint desc limit 1;
  consumed := coalesce(k.consumed, 0);
  v_out := outbox_without_receipt(p_queue, k.outstanding);
  while consumed < least(p_position, k.position) and cardinality(v_out) < v_most and v_read < 20 * v_most loop
    select array_agg(r.id) into v_more
      from (select n.*, max(n.at) over () as planned from outbox_resend(p_queue, consumed + 1) n) r
     where r.id is not null and (r.expires_at is null or r.expires_at > r.planned)
       and not exists (select from outbox_dead d where d.id = r.id);
    v_out := v_out || coalesce(v_more, '{}');
    v_read := v_read + coalesce(cardinality(v_more), 0);
    consumed := consumed + 1;
  end loop;

  if p_present is not null then
    select array_agg(o.id) into v_late
      from unnest(v_out) as o(id)
      join outbox_batch b on b.queue = p_queue and b.batch = outbox_newest_batch(p_queue, o.id)
     where b.at < clock_timestamp() - p_timeout and o.id <> all(p_present);
  end if;
  scheduled := 0;
  if v_late is not null then
    insert into outbox_incident (queue, destination, cause, relay, position_before, position_trusted, newest)
    values (p_queue, t.destination, 'no_receipt', t.relay, k.position, p_position,
            (select max(b.batch) from outbox_batch b where b.queue = p_queue))
    returning incident into v_incident;
    scheduled := outbox_schedule(p_queue, v_late, v_incident);
    update outbox_incident i set scheduled = outbox_confirm_receipts.scheduled, outstanding = outbox_confirm_receipts.scheduled,
                                 duplicates_possible = outbox_confirm_receipts.scheduled
     where i.incident = v_incident;
    delete from outbox_incident i where i.incident = v_incident and outbox_confirm_receipts.scheduled = 0;
  end if;
  -- Distinct: a row that was sent again is outstanding since its first batch.
  select coalesce(array_agg(distinct o.id order by o.id), '{}') into v_out
    from unnest(v_out) as o(id) where o.id <> all(coalesce(v_late, '{}'));
  if (k.consumed, k.outstanding) is distinct from (consumed, v_out) then
    insert into outbox_checkpoint (queue, position, consumed, outstanding, evidence, facts)
    values (p_queue, k.position, consumed, v_out, 'receipts', k.facts);
  end if;
  outstanding := cardinality(v_out);
  return next;
end
$$;
