-- outbox_lost(queue, tenure, checkpoint, cause, trusted, done, newest, consumed, evidence): writes down what an opening
-- found, in its transaction. Part of outbox_open.
--
-- Outstanding rows whose newest batch lies above the trusted position and at or below `done` are in no batch that is
-- sent again: they are scheduled. If Redis lost something, an incident says how much is outstanding, and how much of
-- that may have been consumed: what was dispatched. A relay says how far it came before it opens again; of another one,
-- which may have been killed, only its last word is known, so all that it planned counts. Then the checkpoint from
-- which the tenure goes on, if it is another one. Answers how many rows were scheduled.
create or replace function outbox_lost(
  p_queue text, p_tenure uuid, k outbox_checkpoint, p_cause text, p_trusted bigint, p_done bigint, p_newest bigint,
  p_consumed bigint, p_evidence jsonb)
returns bigint
language plpgsql volatile
set search_path from current
as $$
declare
  v_rows     bigint := 0;
  v_again    bigint[];
  v_out      bigint[] := case when p_consumed is not null then coalesce(k.outstanding, '{}') end;
  v_taken    bigint := 0;
  v_incident bigint;
  v_same     boolean; -- the last tenure was this relay's, too
begin
  if p_cause in ('first', 'adopted') then
    v_out := case when p_consumed is not null then '{}'::bigint[] end;
  elsif p_trusted < p_done and cardinality(v_out) > 0 then
    select array_agg(o.id) into v_again
      from unnest(v_out) as o(id)
     where outbox_newest_batch(p_queue, o.id) between p_trusted + 1 and p_done;
    select array_agg(o.id order by o.id) into v_out from unnest(v_out) as o(id) where o.id <> all(coalesce(v_again, '{}'));
    v_out := coalesce(v_out, '{}');
  end if;

  if p_cause in ('rolled_back', 'missing', 'unknown') then
    insert into outbox_incident (queue, destination, cause, evidence, relay, position_before, position_trusted, newest)
    select p_queue, t.destination, p_cause, p_evidence, t.relay, k.position, p_trusted, p_newest
      from outbox_tenure t where t.token = p_tenure
    returning incident into v_incident;
    v_taken := outbox_take_over(p_queue, v_incident);
    select count(distinct l.relay) = 1 into v_same
      from (select t.relay from outbox_tenure t where t.queue = p_queue order by t.opened_at desc limit 2) l;
  end if;
  if v_again is not null then
    v_rows := outbox_schedule(p_queue, v_again, v_incident);
  end if;
  update outbox_incident i
     set scheduled = v_rows + v_taken,
         outstanding = v_rows + v_taken + b.rows,
         duplicates_possible = v_rows + v_taken + b.dispatched
    from (select coalesce(sum(e.rows), 0) as rows,
                 coalesce(sum(e.rows) filter (where e.batch <= k.position or not v_same), 0) as dispatched
            from outbox_batch e where e.queue = p_queue and e.batch > p_done) b
   where i.incident = v_incident;

  if k.position is null or p_done < k.position or v_incident is not null
     or (k.consumed, k.outstanding) is distinct from (p_consumed, v_out) then
    insert into outbox_checkpoint (queue, position, consumed, outstanding, evidence, facts)
    values (p_queue, least(coalesce(k.position, p_done), p_done), p_consumed, v_out, 'open: ' || p_cause, k.facts);
  end if;
  return v_rows;
end
$$;
