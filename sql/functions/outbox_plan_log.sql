-- outbox_plan_log(cursor, tenure, relay, max_rows, max_bytes): plans the next batch of the log. Part of outbox_plan.
--
-- Begins a tick, or goes on with the one that the cursor is inside of; cuts it by rows and by bytes (a single row
-- always fits); copies rows with a deliver_at to outbox_held; writes the ledger entry. One row beyond the limit is
-- looked at, so that a batch that ends its tick says so at once. Answers planned, more, idle or busy, and of a new
-- entry its time and its rows, and how outbox_log finds them; `after` is NULL if only outbox_tick_rows does, because a
-- transaction that has finished was open for long.
create or replace function outbox_plan_log(
  cur outbox_batch, p_tenure uuid, p_relay text, p_max_rows integer, p_max_bytes bigint,
  out status text, out at timestamptz, out rows integer, out after bigint, out upto bigint, out since xid8, out snap pg_snapshot)
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
  nxt      outbox_batch := cur;
  v_t_snap pg_snapshot  := cur.t_snap;
  v_t_max  bigint       := cur.t_max;
  v_low    bigint       := cur.floor;
  v_more   boolean;
  v_last   bigint;
  v_bytes  bigint;
  v_held   bigint[];
begin
  since := pg_snapshot_xmax(cur.snap);
  if v_t_snap is null then
    -- One statement: its snapshot is taken before the sequence is read, so no visible id lies above.
    select pg_current_snapshot(), greatest(cur.tip, pg_sequence_last_value('outbox_id_seq'::regclass))
      into v_t_snap, v_t_max;
  end if;

  if cardinality(cur.open_after) > 0 then
    select least(cur.floor, min(cur.open_after[s.n])), least(since, (array_agg(s.xid))[1]) into v_low, since
      from pg_snapshot_xip(cur.snap) with ordinality as s(xid, n)
     where pg_visible_in_snapshot(s.xid, v_t_snap);
  end if;
  if v_low >= cur.floor - 20000 then
    after := greatest(cur.pos, v_low);
    select count(*), max(r.id), coalesce(sum(r.bytes), 0), array_agg(r.id) filter (where r.deliver_at is not null)
      into rows, v_last, v_bytes, v_held
      from (select o.id, o.deliver_at, outbox_bytes(o.task, o.args, o.kwargs, o.headers, o.body) as bytes
              from outbox_log(cur.queue, after, v_t_max, since, cur.tip, cur.snap, v_t_snap) o
             order by o.id
             limit p_max_rows) r;
    v_more := rows = p_max_rows and exists (
      select from outbox_log(cur.queue, v_last, v_t_max, since, cur.tip, cur.snap, v_t_snap));
  end if;
  if after is null or (v_bytes > p_max_bytes and rows > 1) then
    select count(*) filter (where w.fits), max(w.id) filter (where w.fits), coalesce(sum(w.bytes) filter (where w.fits), 0),
           coalesce(bool_or(not w.fits), false), array_agg(w.id) filter (where w.fits and w.deliver_at is not null)
      into rows, v_last, v_bytes, v_more, v_held
      from (select s.id, s.deliver_at, s.bytes, s.n = 1 or (s.n <= p_max_rows and s.total <= p_max_bytes) as fits
              from (select r.id, r.deliver_at, r.bytes, row_number() over running as n, sum(r.bytes) over running as total
                      from (select t.id, t.deliver_at, outbox_bytes(t.task, t.args, t.kwargs, t.headers, t.body) as bytes
                              from outbox_tick_rows(cur, v_t_snap, v_t_max, v_t_max, p_max_rows + 1) t) r
                    -- The rows come in order already: no sort.
                    window running as (rows unbounded preceding)) s) w;
  end if;

  if rows = 0 and cur.t_snap is null
     -- A CASE, because calling it costs more than all the rest of a plan that finds nothing.
     and not (case when cur.tip - cur.floor > 20000 or cardinality(cur.open_after) > 0
                   then outbox_tick_is_wide(cur, v_t_snap) else false end) then
    status := 'idle';
    return;
  end if;

  if v_held is not null then
    begin
      -- A transaction that is cancelling one of these rows has an uncommitted copy of it, and may stay open for long.
      insert into outbox_held (id, task_id, queue, task, args, kwargs, headers, body, priority,
                               deliver_at, expires_at, created_at, due)
      select o.id, o.task_id, o.queue, o.task, o.args, o.kwargs, o.headers, o.body, o.priority,
             o.deliver_at, o.expires_at, o.created_at, o.deliver_at
        from /*app.*/outbox o
       where o.queue = cur.queue and o.id = any(v_held)
          on conflict (id) do nothing;
    exception when lock_not_available then
      status := 'busy';
      return;
    end;
  end if;

  nxt.batch  := cur.batch + 1;
  nxt.kind   := 'log';
  nxt.ids    := null;
  nxt.tenure := p_tenure;
  nxt.rows   := rows;
  nxt.bytes  := v_bytes;
  nxt.relay  := p_relay;
  nxt.at     := clock_timestamp();
  if v_more then
    nxt.t_snap := v_t_snap;
    nxt.t_max  := v_t_max;
    nxt.pos    := v_last;
  else
    nxt.floor      := cur.prev_tip;
    nxt.prev_tip   := cur.tip;
    nxt.tip        := v_t_max;
    nxt.snap       := v_t_snap;
    nxt.open_after := case when pg_snapshot_xmin(v_t_snap) = pg_snapshot_xmax(v_t_snap) then '{}'
                           else outbox_open_after(cur, v_t_snap) end;
    nxt.t_snap     := null;
    nxt.t_max      := null;
    nxt.pos        := null;
  end if;
  insert into outbox_batch select nxt.*;
  status := case when v_more then 'more' else 'planned' end;
  at := nxt.at;
  upto := coalesce(nxt.pos, v_t_max);
  snap := v_t_snap;
end
$$;
