-- outbox_passed(cursor, id, xid): whether a cursor has passed a row of its queue: its batch, or one before, took the row
-- out of the log. Exact, also inside a tick. False for the NULL cursor.
--
-- Asked for every row of a segment: a SET clause would keep it from being inlined, so every name is qualified instead.
create or replace function outbox_passed(cur outbox_batch, p_id bigint, p_xid xid8)
returns boolean
language sql immutable
as $$
  select coalesce(
    (p_id operator(pg_catalog.<=) cur.tip and pg_catalog.pg_visible_in_snapshot(p_xid, cur.snap))
    or (p_id operator(pg_catalog.<=) cur.pos and pg_catalog.pg_visible_in_snapshot(p_xid, cur.t_snap)), false)
$$;
