-- outbox_read(queue, batch): the messages of a batch of the ledger, in order; the same rows at every call.
--
-- The first row is the header: batch, kind, at, and how many rows the plan counted; its id is NULL. Then one row per
-- message. A row with deliver_at is not a message of its batch of kind log: it was copied to outbox_held and goes out
-- by id. `retried`: it is a dead row that an operator sends again. Rows of a truncated segment are gone: they were done. No row at all: the ledger does not hold that batch.
create or replace function outbox_read(p_queue text, p_batch bigint)
returns table (batch bigint, kind text, at timestamptz, rows integer,
               id bigint, task_id uuid, task text, args jsonb, kwargs jsonb, headers jsonb, body bytea,
               priority smallint, expires_at timestamptz, created_at timestamptz, retried boolean)
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
declare
  prev outbox_batch;
  cur  outbox_batch;
begin
  select b.* into cur from outbox_batch b where b.queue = p_queue and b.batch = p_batch;
  if not found then
    return;
  end if;
  return query select cur.batch, cur.kind, cur.at, cur.rows, null::bigint, null::uuid, null::text, null::jsonb, null::jsonb,
                      null::jsonb, null::bytea, null::smallint, null::timestamptz, null::timestamptz, null::boolean;
  if cur.rows = 0 then
    return;
  end if;

  if cur.kind = 'ids' then
    return query
      select null::bigint, null::text, null::timestamptz, null::integer,
             h.id, h.task_id, h.task, h.args, h.kwargs, h.headers, h.body, h.priority, h.expires_at, h.created_at,
             h.died is not null
        from unnest(cur.ids) with ordinality as i(id, n)
        join outbox_held h on h.id = i.id
       order by i.n;
    return;
  end if;

  select b.* into prev from outbox_batch b where b.queue = p_queue and b.batch = p_batch - 1;
  if not found then
    return;
  end if;
  return query
    select null::bigint, null::text, null::timestamptz, null::integer,
           r.id, r.task_id, r.task, r.args, r.kwargs, r.headers, r.body, r.priority, r.expires_at, r.created_at,
           false
      from outbox_tick_rows(prev,
                            coalesce(prev.t_snap, cur.t_snap, cur.snap),
                            coalesce(prev.t_max, cur.t_max, cur.tip),
                            coalesce(cur.pos, prev.t_max, cur.tip), null) r
     where r.deliver_at is null;
end
$$;
