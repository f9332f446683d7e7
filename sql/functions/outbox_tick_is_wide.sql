-- outbox_tick_is_wide(cursor, t_snap): whether an empty tick is worth recording.
--
-- Looking for rows costs an index scan of the queue's rows in (floor, tip] and of what long transactions left open.
-- Ordinarily they are few. After a huge tick they are not, until two more are recorded; and once a long transaction has
-- finished, its range would be looked at again at every look, until one is recorded. Ids alone do not tell: other
-- queues take them too. Rows that were rolled back are in no count: a quiet queue is narrowed whatever it read.
create or replace function outbox_tick_is_wide(cur outbox_batch, p_t_snap pg_snapshot)
returns boolean
language sql stable
set search_path from current
as $$
  select case when cur.tip - cur.floor > 20000
              then cur.at < clock_timestamp() - interval '10 s'
                   or (select count(*) = 200 or sum(e.rows) > 20000
                         from (select b.rows, b.tip from outbox_batch b
                                where b.queue = cur.queue and b.batch <= cur.batch order by b.batch desc limit 200) e
                        where e.tip >= cur.floor)
              else false end
      or exists (select from pg_snapshot_xip(cur.snap) with ordinality as s(xid, n)
                  where cur.open_after[s.n] < cur.floor - 20000 and pg_visible_in_snapshot(s.xid, p_t_snap))
$$;
