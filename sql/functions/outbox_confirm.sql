-- outbox_confirm(queue, tenure, position, consumed, present, facts): a checkpoint of what was consumed.
--
-- The marker stood at `position`. Every row whose newest batch is at or below `consumed` is consumed, except the rows
-- `present` (ids in ascending order; rows above `consumed` may be among them). A long list is bounded by choosing a
-- smaller batch: what lies above it counts as outstanding anyway. Never goes back, never above the ledger, and only
-- for the queue's current tenure once that is certified. Answers the batch; NULL: nothing was written, because the
-- tenure is not the current one, is not certified, or nothing is new.
create or replace function outbox_confirm(
  p_queue text, p_tenure uuid, p_position bigint, p_consumed bigint, p_present bigint[], p_facts jsonb)
returns bigint
language plpgsql volatile
set search_path from current
as $$
declare
  v_most  constant integer := 500;
  k       outbox_checkpoint;
  b       outbox_batch;
  v_out   bigint[] := coalesce(p_present, '{}');
  v_log   bigint[];   -- those that came from the log,
  v_held  bigint[];   -- and the batches of those that came from outbox_held
begin
  -- As in outbox_mark.
  perform from outbox_tenure t where t.token = p_tenure and t.queue = p_queue and t.cap is null and t.certified for no key update;
  if not found then
    return null;
  end if;
  select c.* into k from outbox_checkpoint c where c.queue = p_queue order by c.checkpoint desc limit 1;
  if p_position < k.position or p_consumed < k.consumed or p_consumed > p_position
     or p_position > (select max(l.batch) from outbox_batch l where l.queue = p_queue) then
    return null;
  end if;

  select array_agg(i.id order by i.id) filter (where h.batch is null), array_agg(h.batch order by h.batch)
           filter (where h.batch is not null)
    into v_log, v_held
    from unnest(v_out) as i(id) left join outbox_held h on h.id = i.id;
  select l.* into b from outbox_batch l
   where l.queue = p_queue and l.batch <= p_consumed and l.batch >= coalesce(k.consumed, 0)
     and (v_log[v_most + 1] is null or greatest(l.tip, l.pos) < v_log[v_most + 1])
     and (v_held[v_most + 1] is null or l.batch < v_held[v_most + 1])
   order by l.batch desc limit 1;
  if not found then
    -- Even the batch that is known would leave too many: later.
    return null;
  end if;
  -- Whatever the log gave to a batch at or below has an id at or below; what came from outbox_held may have any.
  select coalesce(array_agg(i.id order by i.id), '{}') into v_out
    from unnest(v_out) as i(id) left join outbox_held h on h.id = i.id
   where case when h.batch is null then i.id <= greatest(b.tip, b.pos) else h.batch <= b.batch end;

  if (p_position, b.batch) = (k.position, k.consumed) and v_out = k.outstanding then
    return null;
  end if;
  insert into outbox_checkpoint (queue, position, consumed, outstanding, evidence, facts)
  values (p_queue, p_position, b.batch, v_out, 'observed', p_facts);
  return b.batch;
end
$$;
