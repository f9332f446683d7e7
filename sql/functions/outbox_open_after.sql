-- outbox_open_after(cursor, t_snap): for each transaction that runs in t_snap, in the order of pg_snapshot_xip, the id
-- after which its rows can lie: what the cursor knew of it, or else the cursor's floor (before this tick moves it).
--
-- A transaction that has been open for long keeps its old bound, and finding its rows means looking at every id since.
-- While it holds no lock on the outbox it has taken no id yet, so its bound may move up to the last id handed out
-- before the locks were looked at. Asked only when that is worth it.
create or replace function outbox_open_after(cur outbox_batch, p_t_snap pg_snapshot)
returns bigint[]
language plpgsql volatile
set search_path from current
as $$
declare
  v_after  bigint[];
  v_last   bigint;
  v_holder xid8[];
begin
  select coalesce(array_agg(coalesce(known.after, cur.floor) order by s.n), '{}') into v_after
    from pg_snapshot_xip(p_t_snap) with ordinality as s(xid, n)
    left join (select k.xid, cur.open_after[k.n] as after
                 from pg_snapshot_xip(cur.snap) with ordinality as k(xid, n)) known on known.xid = s.xid;

  if exists (select from unnest(v_after) a where a < cur.tip - 100000) then
    v_last := pg_sequence_last_value('outbox_id_seq'::regclass);
    -- Whoever may insert holds this lock since before its first nextval, and so does a prepared transaction. Which
    -- xid a lock belongs to is told by the transactionid lock that every transaction with an xid holds on itself.
    -- Those are 32 bits wide: compared with the low half, a false match only keeps a bound where it was.
    select coalesce(array_agg(s.xid), '{}') into v_holder
      from pg_snapshot_xip(p_t_snap) as s(xid)
     where s.xid::text::numeric % 4294967296 in (
             select x.transactionid::text::numeric
               from pg_locks x
               join pg_locks r on r.virtualtransaction = x.virtualtransaction
              where x.locktype = 'transactionid' and r.locktype = 'relation'
                and r.database = (select d.oid from pg_database d where d.datname = current_database())
                and r.relation in (select $name$/*app.*/outbox$name$::regclass::oid
                                    union all select i.inhrelid from pg_inherits i where i.inhparent = $name$/*app.*/outbox$name$::regclass)
                and r.mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'));
    -- A later statement: whoever is still running now was running when the locks were listed.
    select coalesce(array_agg(case when s.xid = any(v_holder) or pg_visible_in_snapshot(s.xid, pg_current_snapshot())
                                   then v_after[s.n] else greatest(v_after[s.n], v_last) end
                              order by s.n), '{}')
      into v_after
      from pg_snapshot_xip(p_t_snap) with ordinality as s(xid, n);
  end if;
  return v_after;
end
$$;
