-- outbox_tick_is_wide(cursor, t_snap): whether an empty tick is worth recording.
--
-- Looking for rows costs an index scan of (floor, tip] and of what long transactions left open. Ordinarily that is
-- narrow. After a huge tick it is not, until two more are recorded; and once a long transaction has finished, its
-- range would be looked at again at every tick, until one is recorded.
create or replace function outbox_tick_is_wide(cur outbox_batch, p_t_snap pg_snapshot)
returns boolean
language sql stable
set search_path from current
as $$
  select cur.tip - cur.floor > 20000
      or exists (select from pg_snapshot_xip(cur.snap) with ordinality as s(xid, n)
                  where cur.open_after[s.n] < cur.floor - 20000 and pg_visible_in_snapshot(s.xid, p_t_snap))
$$;
