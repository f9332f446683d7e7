-- outbox_plan_log(cursor, tenure, relay, max_rows, max_bytes): plans the next batch of the log. Part of outbox_plan.
--
-- Begins a tick, or goes on with the one that the cursor is inside of; cuts it by rows and by bytes (a single row
-- always fits); copies rows with a deliver_at to outbox_held; writes the ledger entry. One row beyond the limit is
-- looked at, so that a batch that ends its tick says so at once. Answers planned, more, idle or busy.
create or replace function outbox_plan_log(
  cur outbox_batch, p_tenure uuid, p_relay text, p_max_rows integer, p_max_bytes bigint)
returns text
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
declare
  nxt      outbox_batch := cur;
  v_t_snap pg_snapshot  := cur.t_snap;
  v_t_max  bigint       := cur.t_max;
  v_more   boolean;
  v_last   bigint;
  v_rows   integer;
  v_bytes  bigint;
  v_held   bigint[];
begin
  if v_t_snap is null then
    -- One statement: its snapshot is taken before the sequence is read, so no visible id lies above.
    select pg_current_snapshot(), greatest(cur.tip, pg_sequence_last_value('outbox_id_seq'::regclass))
      into v_t_snap, v_t_max;
  end if;

  select count(*) filter (where w.fits), max(w.id) filter (where w.fits), coalesce(sum(w.bytes) filter (where w.fits), 0),
         coalesce(bool_or(not w.fits), false), array_agg(w.id) filter (where w.fits and w.deliver_at is not null)
    into v_rows, v_last, v_bytes, v_more, v_held
    from (select s.id, s.deliver_at, s.bytes, s.n = 1 or (s.n <= p_max_rows and s.total <= p_max_bytes) as fits
            from (select r.id, r.deliver_at, r.bytes, row_number() over running as n, sum(r.bytes) over running as total
                    from (select t.id, t.deliver_at,
                                 100 + octet_length(t.task) + pg_column_size(t.args) + pg_column_size(t.kwargs)
                                     + pg_column_size(t.headers) + coalesce(octet_length(t.body), 0) as bytes
                            from outbox_tick_rows(cur, v_t_snap, v_t_max, v_t_max, p_max_rows + 1) t) r
                  -- The rows come in order already: no sort.
                  window running as (rows unbounded preceding)) s) w;

  if v_rows = 0 and cur.t_snap is null and not outbox_tick_is_wide(cur, v_t_snap) then
    return 'idle';
  end if;

  if v_held is not null then
    begin
      -- A transaction that is cancelling one of these rows has an uncommitted copy of it, and may stay open for long.
      insert into outbox_held (id, task_id, queue, task, args, kwargs, headers, body, priority,
                               deliver_at, expires_at, created_at, due)
      select o.id, o.task_id, o.queue, o.task, o.args, o.kwargs, o.headers, o.body, o.priority,
             o.deliver_at, o.expires_at, o.created_at, o.deliver_at
        from outbox o
       where o.queue = cur.queue and o.id = any(v_held)
          on conflict (id) do nothing;
    exception when lock_not_available then
      return 'busy';
    end;
  end if;

  nxt.batch  := cur.batch + 1;
  nxt.kind   := 'log';
  nxt.ids    := null;
  nxt.tenure := p_tenure;
  nxt.rows   := v_rows;
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
    nxt.open_after := outbox_open_after(cur, v_t_snap);
    nxt.t_snap     := null;
    nxt.t_max      := null;
    nxt.pos        := null;
  end if;
  insert into outbox_batch select nxt.*;
  return case when v_more then 'more' else 'planned' end;
end
$$;
