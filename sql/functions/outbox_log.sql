-- outbox_log(queue, after, upto, snap): a queue's rows with after < id <= upto that are visible in `snap`. Range C of a
-- tick (outbox_tick_rows), above the tip of the cursor.
--
-- Plain SQL without a SET clause, so that the server puts its text in the place of the call: no row is copied on the
-- way, and the caller's ORDER BY and LIMIT reach the index. Only for functions that pin the search_path themselves.
create or replace function outbox_log(p_queue text, p_after bigint, p_upto bigint, p_snap pg_snapshot)
returns setof outbox
language sql stable
as $$
  select o.* from outbox o
   where o.queue = p_queue and o.id > p_after and o.id <= p_upto and pg_visible_in_snapshot(o.xid, p_snap)
$$;
