-- outbox_tick_rows(cursor, t_snap, t_max, hi, max_rows): the rows that one tick reads, or the part of them that a batch holds.
--
-- Exactly the rows of the cursor's queue that are visible in t_snap and not in cursor.snap, with
-- coalesce(cursor.pos, 0) < id <= hi, in the order of their ids; at most max_rows of them (NULL: all).
-- ARCHITECTURE.md proves it. Three index ranges, none of which overlaps another:
--   A  transactions that ran in cursor.snap and have finished since: ids above what is known of each, up to tip;
--   B  ids in (floor, tip] of transactions that cursor.snap could not list, being at or above its xmax;
--   C  ids in (tip, t_max].
-- A and B share one scan, filtered inside the index by a lower bound on xid; only transactions whose ids
-- may lie far below (they stayed open for long) get a scan of their own, filtered inside the index by both bounds.
-- No `xid = any(..)` that an index could use: it is scanned once per element and not in order, or else tested on the heap.
-- Each scan is ordered and cut by itself: a bulk insert that stayed open for long must not be sorted for every batch of it.
create or replace function outbox_tick_rows(
  cur outbox_batch, p_t_snap pg_snapshot, p_t_max bigint, p_hi bigint, p_max_rows integer)
returns setof /*app.*/outbox
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
  v_xmax  xid8   := pg_snapshot_xmax(cur.snap);
  v_lo    bigint := coalesce(cur.pos, 0);
  v_near  xid8[];           -- finished since, their rows lie close to the floor
  v_far   xid8[];           -- finished since, after staying open for long
  v_near_after bigint;
  v_far_after  bigint;
  v_n     bigint := 0;
begin
  if cardinality(cur.open_after) > 0 then
    select array_agg(o.xid) filter (where o.after >= cur.floor - 20000),
           min(o.after)     filter (where o.after >= cur.floor - 20000),
           array_agg(o.xid) filter (where o.after <  cur.floor - 20000),
           min(o.after)     filter (where o.after <  cur.floor - 20000)
      into v_near, v_near_after, v_far, v_far_after
      from (select s.xid, cur.open_after[s.n] as after
              from pg_snapshot_xip(cur.snap) with ordinality as s(xid, n)) o
     where pg_visible_in_snapshot(o.xid, p_t_snap);
  end if;

  if v_lo < cur.tip then
    if v_far is null then
      return query
        select o.* from /*app.*/outbox o
         where o.queue = cur.queue
           and o.id > greatest(v_lo, least(cur.floor, v_near_after)) and o.id <= least(cur.tip, p_hi)
           and o.xid >= least(v_xmax, v_near[1])
           and (o.xid >= v_xmax or o.xid = any(v_near))
           and pg_visible_in_snapshot(o.xid, p_t_snap)
         order by o.id
         limit p_max_rows;
    else
      return query
        select r.* from (
          (select o.* from /*app.*/outbox o
            where o.queue = cur.queue
              and o.id > greatest(v_lo, v_far_after) and o.id <= least(cur.tip, p_hi)
              and o.xid >= v_far[1] and o.xid <= v_far[cardinality(v_far)]
              and array_position(v_far, o.xid) is not null
            order by o.id
            limit p_max_rows)
          union all
          (select o.* from /*app.*/outbox o
            where o.queue = cur.queue
              and o.id > greatest(v_lo, least(cur.floor, v_near_after)) and o.id <= least(cur.tip, p_hi)
              and o.xid >= least(v_xmax, v_near[1])
              and (o.xid >= v_xmax or o.xid = any(v_near))
              and pg_visible_in_snapshot(o.xid, p_t_snap)
            order by o.id
            limit p_max_rows)) r
         order by r.id
         limit p_max_rows;
    end if;
    get diagnostics v_n = row_count;
  end if;

  if p_max_rows is null or v_n < p_max_rows then
    return query
      select o.* from /*app.*/outbox o
       where o.queue = cur.queue
         and o.id > greatest(v_lo, cur.tip) and o.id <= least(p_t_max, p_hi)
         and pg_visible_in_snapshot(o.xid, p_t_snap)
       order by o.id
       limit p_max_rows - v_n;
  end if;
end
$$;
