-- outbox_log(queue, after, upto, since, tip, seen, snap): the rows of a tick by one range of ids, where no transaction
-- stayed open over many of them: after < id <= upto, visible in `snap`, and not in `seen` (nothing above `tip` is).
--
-- `after` is the least of the cursor's floor and what is known of each transaction that finished since; `since` the first
-- of those transactions or xmax(seen), whichever is lower. So these are ranges A, B and C of outbox_tick_rows in one.
-- Plain SQL without a SET clause, so that the server puts its text in the place of the call: no row is copied on the
-- way, and the caller's ORDER BY and LIMIT reach the index. Only for functions that pin the search_path themselves.
create or replace function outbox_log(
  p_queue text, p_after bigint, p_upto bigint, p_since xid8, p_tip bigint, p_seen pg_snapshot, p_snap pg_snapshot)
returns setof /*app.*/outbox
language sql stable
as $$
  select o.* from /*app.*/outbox o
   where o.queue = p_queue and o.id > p_after and o.id <= p_upto and o.xid >= p_since
     and pg_visible_in_snapshot(o.xid, p_snap)
     and (o.id > p_tip or not pg_visible_in_snapshot(o.xid, p_seen))
$$;
