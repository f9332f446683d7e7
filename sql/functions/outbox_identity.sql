-- outbox_identity(): NULL while the xids and ids stored here belong to this database; otherwise what is wrong, in a
-- sentence. A restored dump or a logical copy has foreign xids, and the reader would pass rows by or send them twice.
create or replace function outbox_identity()
returns text
language sql volatile
set search_path from current
as $$
  select case
    when not exists (select from outbox_meta) then
      'outbox_meta is empty'
    when exists (select from outbox_meta m
                  where m.xmin::text::numeric <> m.witness::text::numeric % 4294967296) then
      'the rows were restored from a dump or copied: their transaction ids are those of another database'
    when exists (select from outbox_queue q
                  cross join lateral (select * from outbox_batch b where b.queue = q.queue order by b.batch desc limit 1) b
                  where greatest(b.tip, b.t_max) > coalesce(pg_sequence_last_value('outbox_id_seq'::regclass), 0)) then
      'the sequence outbox_id_seq lies below ids that the ledger has passed'
    when exists (select from outbox_queue q
                  cross join lateral (select * from outbox_batch b where b.queue = q.queue order by b.batch desc limit 1) b
                  where pg_snapshot_xmax(coalesce(b.t_snap, b.snap)) > pg_snapshot_xmax(pg_current_snapshot())) then
      'the next transaction id lies below those that the ledger has passed'
  end
$$;
