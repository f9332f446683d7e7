-- outbox_purge(queue, to, held, published, reason, by, start): an operator discards what of a queue was never published,
-- or, with `to`, publishes it in another queue instead. Without `start` it only counts. Answers the incident that records
-- it (NULL: none), and how many rows: pending ones; held ones (discarded only with `held`); those that were scheduled again
-- after a loss (discarded, never moved); and those that are planned, published and not known to be consumed: with
-- `published` they are never sent again, whatever Redis loses, and what stands in Redis stays there. No row: there is no
-- such queue.
--
-- The log is append-only, so the rows are planned like any others, in the queue's ledger and under its lock, and in the
-- same transaction each gets a cancelled copy in outbox_held, which outbox_wants asks for: the batches bring nothing, at
-- their first reading and at any later one. A relay meets batches that it did not plan and opens the queue.
-- The copies of discarded rows hold no payload: outbox_rows shows it for as long as the log has the row.
create or replace function outbox_purge(
  p_queue text, p_to text, p_held boolean, p_published boolean, p_reason text, p_by text, p_start boolean)
returns table (incident bigint, pending bigint, held bigint, again bigint, published bigint)
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set jit = off
as $$
declare
  v_all   constant bigint      := 9223372036854775807;
  v_now   constant timestamptz := clock_timestamp();
  v_wrong constant text        := outbox_identity();
  cur     outbox_batch;
  nxt     record;
  t       outbox_tenure;
  v_ticks integer;
  v_n     bigint;
  k       outbox_checkpoint;
  v_ids   bigint[];     -- published
begin
  if not exists (select from outbox_queue q where q.queue = p_queue)
     and not exists (select from /*app.*/outbox o where o.queue = p_queue) then
    return;
  elsif v_wrong is not null then
    raise exception '%: run `outboxd repair` first', v_wrong using errcode = '55000';
  elsif p_to = p_queue then
    raise exception 'the rows are in queue % already', p_queue using errcode = '22023';
  end if;
  if p_start then
    perform set_config('lock_timeout', '5s', true);
    insert into outbox_queue (queue) values (p_queue) on conflict do nothing;
    perform from outbox_queue q where q.queue = p_queue for update;
    insert into outbox_batch (queue, batch, kind, snap, tip, prev_tip, floor, open_after, rows, bytes, relay)
    select p_queue, 0, 'log', '3:3:', 0, 0, 0, '{}', 0, 0, ''
     where not exists (select from outbox_batch b where b.queue = p_queue);
  end if;
  select b.* into cur from outbox_batch b where b.queue = p_queue order by b.batch desc limit 1;
  select c.* into k from outbox_checkpoint c where c.queue = p_queue order by c.checkpoint desc limit 1;
  select array_agg(distinct r.id) into v_ids
    from (select s.id from outbox_batch b cross join lateral outbox_resend(p_queue, b.batch) s
           where b.queue = p_queue and b.batch > coalesce(k.consumed, 0) and b.rows > 0
          union all
          select o.id from unnest(k.outstanding) as o(id)) r
   where r.id is not null
     and not exists (select from outbox_dead d where d.id = r.id)
     and not exists (select from outbox_held h where h.id = r.id and (h.cancelled_at is not null or h.batch is null));
  published := coalesce(cardinality(v_ids), 0);

  if not p_start then
    if cur.queue is null then
      cur := row(p_queue, 0, 'log', null, '3:3:', 0, 0, 0, '{}', null, null, null, null, 0, 0, '', v_now)::outbox_batch;
    end if;
    select count(*) filter (where r.deliver_at is null),
           count(*) filter (where r.deliver_at is not null and not exists (select from outbox_held h where h.id = r.id))
      into pending, held from outbox_tick_rows(cur, pg_current_snapshot(), v_all, v_all, null) r;
    select held + count(*) filter (where h.incident is null), count(*) filter (where h.incident is not null)
      into held, again from outbox_held h where h.queue = p_queue and h.batch is null and h.cancelled_at is null;
    return next;
    return;
  end if;

  insert into outbox_incident as i (queue, destination, cause, relay, newest, outstanding, recovered_at)
  select p_queue, coalesce(max(e.destination), ''), case when p_to is null then 'purged' else 'moved' end, p_by, cur.batch, 0, v_now
    from outbox_tenure e where e.queue = p_queue and e.cap is null
  returning i.incident into incident;
  select e.* into t from outbox_tenure e where e.queue = p_queue and e.cap is null;

  pending := 0;
  v_ticks := case when cur.t_snap is null then 1 else 2 end;   -- an unfinished one first
  while v_ticks > 0 loop
    nxt := outbox_plan_log(cur, t.token, coalesce(t.relay, ''), 10000, v_all);
    if nxt.status = 'busy' then
      raise exception 'a transaction is cancelling a task of queue % at this moment: try again', p_queue using errcode = '55P03';
    end if;
    exit when nxt.status = 'idle';
    select b.* into cur from outbox_batch b where b.queue = p_queue order by b.batch desc limit 1;
    if p_to is not null then
      insert into /*app.*/outbox (task_id, queue, task, args, kwargs, headers, body, priority, expires_at, created_at)
      select r.task_id, p_to, r.task, r.args, r.kwargs, r.headers, r.body, r.priority, r.expires_at, r.created_at
        from outbox_read(p_queue, cur.batch) r where r.id is not null order by r.id;
    end if;
    insert into outbox_held (id, task_id, queue, task, args, kwargs, headers, priority, expires_at, created_at, due,
                             incident, cancelled_at)
    select r.id, r.task_id, p_queue, r.task, '[]', '{}', '{}', r.priority, r.expires_at, r.created_at, v_now,
           outbox_purge.incident, v_now
      from outbox_read(p_queue, cur.batch) r where r.id is not null
        on conflict (id) do nothing;
    get diagnostics v_n = row_count;
    pending := pending + v_n;
    v_ticks := v_ticks - case when nxt.status = 'planned' then 1 else 0 end;
  end loop;

  held := 0;
  again := 0;
  if p_to is not null then
    insert into /*app.*/outbox (task_id, queue, task, args, kwargs, headers, body, priority, deliver_at, expires_at, created_at)
    select h.task_id, p_to, h.task, h.args, h.kwargs, h.headers, h.body, h.priority, h.deliver_at, h.expires_at, h.created_at
      from outbox_held h
     where h.queue = p_queue and h.batch is null and h.cancelled_at is null and h.incident is null
     order by h.id for update;
  else
    update outbox_held h set cancelled_at = v_now
     where h.queue = p_queue and h.batch is null and h.cancelled_at is null and h.incident is not null;
    get diagnostics again = row_count;
  end if;
  if p_held or p_to is not null then
    update outbox_held h set cancelled_at = v_now, incident = outbox_purge.incident
     where h.queue = p_queue and h.batch is null and h.cancelled_at is null and h.incident is null;
    get diagnostics held = row_count;
  end if;

  if p_published and p_to is null then
    update outbox_held h set cancelled_at = v_now where h.id = any(v_ids);
    insert into outbox_held (id, task_id, queue, task, args, kwargs, headers, priority, expires_at, created_at, due,
                             incident, cancelled_at)
    select o.id, o.task_id, o.queue, o.task, '[]', '{}', '{}', o.priority, o.expires_at, o.created_at, v_now,
           outbox_purge.incident, v_now
      from /*app.*/outbox o where o.queue = p_queue and o.id = any(v_ids)
        on conflict (id) do nothing;
  end if;

  update outbox_incident i
     set evidence = jsonb_build_object('reason', p_reason, 'to', p_to, 'pending', pending, 'held', held, 'again', again,
                                    'published', case when p_published then published else 0 end)
   where i.incident = outbox_purge.incident;
  if pending + held + again = 0 and not (p_published and published > 0) then
    delete from outbox_incident i where i.incident = outbox_purge.incident;
    incident := null;
  end if;
  perform pg_notify('outbox', '');
  return next;
end
$$;
