-- outbox_repair(horizon): makes a restored or copied database relay again. Its rows carry transaction ids of another one, by which
-- the reader would pass rows by. Every row that is not proven consumed moves to outbox_held and goes out from there;
-- the log is emptied; every queue's cursor starts at this moment; the witness is made anew. Answers each queue's rows.
--
-- Where consumption is not tracked, what was dispatched longer than `horizon` ago is done. Old ids compare with old snapshots as ever, so what the ledger says of them still holds. Nobody may write to the
-- outbox meanwhile: it is locked, for as long as copying takes.
create or replace function outbox_repair(p_horizon interval)
returns table (queue text, rows bigint)
language plpgsql volatile
set search_path from current
set jit = off
as $$
declare
  v_queue text;
  v_tip   bigint;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'outbox_repair needs READ COMMITTED, this transaction is %', current_setting('transaction_isolation')
      using errcode = '25001';
  end if;
  perform set_config('lock_timeout', '30s', true);
  lock table /*app.*/outbox, outbox_queue, outbox_held in access exclusive mode;
  v_tip := greatest(pg_sequence_last_value('outbox_id_seq'::regclass),
                    (select max(o.id) from /*app.*/outbox o), (select max(h.id) from outbox_held h),
                    (select max(greatest(b.tip, b.t_max)) from outbox_batch b), 1);
  perform setval('outbox_id_seq', v_tip);
  insert into outbox_queue (queue) select d.queue from outbox_known_in_log() d on conflict do nothing;
  for v_queue in select k.queue from outbox_queue k order by k.queue loop
    queue := v_queue;
    rows := outbox_repair_queue(v_queue, v_tip, p_horizon);
    return next;
  end loop;
  truncate /*app.*/outbox;
  delete from outbox_segment;
  perform setval('outbox_segment_seq', 0);
  insert into outbox_segment (segment, opened_at)
  select s, case s when 0 then clock_timestamp() end from generate_series(0, 7) s;
  -- The installation stays: the markers in Redis are its own.
  update outbox_meta set witness = pg_current_xact_id();
end
$$;
