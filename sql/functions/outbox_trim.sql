-- outbox_trim(min_age, max_age, slice): deletes what nobody needs any more, at most `slice` rows of each kind, from the
-- low end: ledger entries and checkpoints of batches that were done min_age ago (see outbox_done), held copies of such rows
-- unless they are outstanding, cancelled copies, expired dedupe keys, receipts, closed tenures and settled incidents
-- older than max_age. Answers how many rows went.
create or replace function outbox_trim(p_min_age interval, p_max_age interval, p_slice integer)
returns bigint
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set jit = off
as $$
declare
  -- Fixed before anything is looked for: an index cannot be asked for what the clock says meanwhile.
  v_now    constant timestamptz := clock_timestamp();
  v_oldest constant timestamptz := v_now - p_max_age;
  q      text;
  v_done bigint;
  v_n    bigint;
  v_sum  bigint := 0;
begin
  for q in select k.queue from outbox_queue k order by k.queue loop
    -- Twice the age: the views tell when a batch was dispatched for a while after its rows could go.
    v_done := outbox_done(q, p_min_age * 2);
    delete from outbox_batch b where b.queue = q and b.batch in (
      select o.batch from outbox_batch o where o.queue = q and o.batch < v_done order by o.batch limit p_slice);
    get diagnostics v_n = row_count;
    v_sum := v_sum + v_n;
    delete from outbox_checkpoint c where c.queue = q and c.checkpoint in (
      select o.checkpoint from outbox_checkpoint o
       where o.queue = q
         and o.checkpoint < (select max(l.checkpoint) from outbox_checkpoint l
                              where l.queue = q and l.at <= v_now - p_min_age * 2)
       order by o.checkpoint limit p_slice);
    get diagnostics v_n = row_count;
    v_sum := v_sum + v_n;
    -- Asked of the row that is deleted, too, here and below: one that is scheduled again at this moment has no batch by
    -- then, and a receipt that is renewed is young.
    delete from outbox_held h where h.batch <= v_done and h.id in (
      select o.id from outbox_held o
       where o.queue = q and o.batch <= v_done
         and o.id <> all(coalesce((select c.outstanding from outbox_checkpoint c where c.queue = q
                                    order by c.checkpoint desc limit 1), '{}'))
       order by o.batch limit p_slice);
    get diagnostics v_n = row_count;
    v_sum := v_sum + v_n;
    delete from outbox_tenure t where t.token in (
      select o.token from outbox_tenure o
       where o.queue = q and o.opened_at < v_oldest and o.closed_at < v_oldest order by o.opened_at limit p_slice);
    get diagnostics v_n = row_count;
    v_sum := v_sum + v_n;
  end loop;

  -- A cancelled copy keeps its row from being planned for as long as the log holds the row.
  delete from outbox_held h where h.id in (
    select o.id from outbox_held o
     where o.cancelled_at < v_oldest and not exists (select from /*app.*/outbox l where l.queue = o.queue and l.id = o.id)
     order by o.cancelled_at limit p_slice);
  get diagnostics v_n = row_count;
  v_sum := v_sum + v_n;
  delete from outbox_dedupe d where d.expires_at < v_now and (d.queue, d.key) in (
    select o.queue, o.key from outbox_dedupe o where o.expires_at < v_now order by o.expires_at limit p_slice);
  get diagnostics v_n = row_count;
  v_sum := v_sum + v_n;
  delete from outbox_receipt r where greatest(r.acked_at, r.once_at) < v_oldest and r.task_id in (
    select o.task_id from outbox_receipt o where greatest(o.acked_at, o.once_at) < v_oldest
     order by greatest(o.acked_at, o.once_at) limit p_slice);
  get diagnostics v_n = row_count;
  v_sum := v_sum + v_n;
  delete from outbox_incident i where i.incident in (
    select o.incident from outbox_incident o
     where coalesce(o.recovered_at, o.cancelled_at) < v_now - p_max_age * 4
     order by coalesce(o.recovered_at, o.cancelled_at) limit p_slice);
  get diagnostics v_n = row_count;
  v_sum := v_sum + v_n;
  return v_sum;
end
$$;
