-- outbox_certify(queue, tenure, base, present, task_ids, cause, evidence, horizon): settles a boundary, after which
-- absence may count as consumption again: a new incarnation of Redis (base NULL: the tenure's own), or evidence that
-- something other than a consumer removed messages (base: how far the marker had come).
--
-- Every row at or below the base that is not known to be consumed and not `present` is scheduled again. A row counts as
-- present under the id of its own task only, where the message says that: two databases may share a list. Where
-- consumption is not tracked, what was dispatched longer than `horizon` ago is done. If a row was scheduled, an
-- incident says so, with its cause and evidence; it takes over what operators have scheduled. At a new incarnation it
-- also counts what other relays had planned above the base: they may have published it, and it was sent again when the
-- tenure began. What was seen of Redis
-- before is no longer compared with. All in one transaction. Answers how many rows; NULL: the tenure is not the queue's
-- current one any more.
create or replace function outbox_certify(
  p_queue text, p_tenure uuid, p_base bigint, p_present bigint[], p_task_ids uuid[],
  p_cause text, p_evidence jsonb, p_horizon interval)
returns bigint
language plpgsql volatile
set search_path from current
set jit = off
as $$
declare
  t          outbox_tenure;
  k          outbox_checkpoint;
  v_base     bigint;
  v_absent   bigint[];
  v_incident bigint;
  v_rows     bigint := 0;
  v_taken    bigint := 0;
  v_untold   bigint := 0; -- sent again already, perhaps for the second time
begin
  perform set_config('lock_timeout', '5s', true);
  select e.* into t from outbox_tenure e where e.token = p_tenure and e.queue = p_queue and e.cap is null for update;
  if not found then
    return null;
  end if;
  v_base := coalesce(p_base, t.base, 0);
  select c.* into k from outbox_checkpoint c where c.queue = p_queue order by c.checkpoint desc limit 1;

  select array_agg(distinct a.id) into v_absent
    from (select r.id, r.task_id
            from generate_series(coalesce(k.consumed, outbox_done(p_queue, p_horizon)) + 1, v_base) as n(batch)
           cross join lateral outbox_resend(p_queue, n.batch) r
           where r.id is not null
          union all
          select o.id, coalesce((select h.task_id from outbox_held h where h.id = o.id),
                                (select l.task_id from /*app.*/outbox l where l.queue = p_queue and l.id = o.id))
            from unnest(k.outstanding) as o(id) where outbox_newest_batch(p_queue, o.id) <= v_base) a
    left join unnest(p_present, p_task_ids) as p(id, task_id)
           on p.id = a.id and (p.task_id is null or p.task_id = a.task_id)
   where p.id is null;

  if p_base is null then
    select coalesce(sum(b.rows), 0) into v_untold from outbox_batch b
     where b.queue = p_queue and b.batch > v_base and b.batch <= t.opened_batch and b.relay <> t.relay;
  end if;

  if v_absent is not null or v_untold > 0 or exists (select from outbox_held h join outbox_incident i on i.incident = h.incident
                                      where h.queue = p_queue and h.batch is null and i.cause = 'operator') then
    insert into outbox_incident (queue, destination, cause, evidence, relay, position_before, position_trusted, newest)
    values (p_queue, t.destination, p_cause, p_evidence, t.relay, k.position, v_base,
            (select max(b.batch) from outbox_batch b where b.queue = p_queue))
    returning incident into v_incident;
    v_rows := outbox_schedule(p_queue, v_absent, v_incident);
    -- In a new statement: a replay that was started meanwhile is seen.
    v_taken := outbox_take_over(p_queue, v_incident);
    update outbox_incident i
       set scheduled = v_rows + v_taken,
           outstanding = v_rows + v_taken + v_untold,
           duplicates_possible = v_rows + v_taken + v_untold,
           replayed = v_untold,
           recovered_at = case when v_rows + v_taken = 0 then clock_timestamp() end
     where i.incident = v_incident;
    delete from outbox_incident i where i.incident = v_incident and v_rows + v_taken + v_untold = 0;
  end if;
  if k.position is not null and (v_absent is not null or k.facts is not null) then
    insert into outbox_checkpoint (queue, position, consumed, outstanding, evidence, facts)
    select p_queue, k.position, k.consumed,
           case when k.consumed is not null then coalesce(array_agg(o.id order by o.id), '{}') end, 'certified', null
      from unnest(k.outstanding) as o(id) where v_absent is null or o.id <> all(v_absent);
  end if;
  update outbox_tenure e set certified = true where e.token = p_tenure;
  return v_rows;
end
$$;
