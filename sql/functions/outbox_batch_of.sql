-- outbox_batch_of(queue, id, xid): the ledger number of the batch that took a row out of the log; NULL if none has yet.
--
-- A row is covered by every entry from its batch on, so the first entry that covers it is found by bisection. Where
-- the ledger was trimmed, its oldest entry stands for everything below. A row with a deliver_at was then copied to
-- outbox_held, and is no message of that batch.
create or replace function outbox_batch_of(queue text, id bigint, xid xid8)
returns bigint
language plpgsql stable
set search_path from current
as $$
declare
  v_low  bigint;
  v_high bigint;
  v_try  bigint;
begin
  select b.batch into v_low from outbox_batch b where b.queue = outbox_batch_of.queue order by b.batch limit 1;
  select b.batch into v_high from outbox_batch b where b.queue = outbox_batch_of.queue order by b.batch desc limit 1;
  v_try := v_high;
  while v_try is not null loop
    if exists (select from outbox_batch b
                where b.queue = outbox_batch_of.queue and b.batch = v_try
                  and ((outbox_batch_of.id <= b.tip and pg_visible_in_snapshot(outbox_batch_of.xid, b.snap))
                       or (outbox_batch_of.id <= b.pos and pg_visible_in_snapshot(outbox_batch_of.xid, b.t_snap)))) then
      v_high := v_try;
    elsif v_try = v_high then
      return null;   -- not even by the newest
    else
      v_low := v_try + 1;
    end if;
    exit when v_low >= v_high;
    v_try := (v_low + v_high) / 2;
  end loop;
  return v_high;
end
$$;
