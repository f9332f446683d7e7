-- outbox_receipt_row(task_id, outbox_id): the row that a worker means: the one that it names, else the only one that has
-- the task id and was not cancelled. NULL: there is none, or there are several, and nothing tells which one it had.
--
-- A row that is not committed yet does not count: no worker has it. Sees what was committed before this statement, so in a
-- transaction above READ COMMITTED what was committed before that began.
create or replace function outbox_receipt_row(task_id uuid, outbox_id bigint)
returns bigint
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set jit = off
as $$
declare
  v_made bigint := outbox_row_id(task_id);   -- the row whose id the task id embeds
  v_ids  bigint[];
begin
  if outbox_id is not null then
    return outbox_id;
  end if;
  -- Rows whose task id a caller chose. Nearly always none. The condition on the id is that of the log's partial index.
  select array_agg(distinct r.id) into v_ids
    from (select o.id from /*app.*/outbox o
           where o.task_id = outbox_receipt_row.task_id
             and substr(uuid_send(o.task_id), 1, 8) <> int8send(((o.id >> 12) << 16) | 32768 | (o.id & 4095))
          union all
          select h.id from outbox_held h where h.task_id = outbox_receipt_row.task_id
          union all
          select d.id from outbox_dead d where d.task_id = outbox_receipt_row.task_id) r
   where r.id is distinct from v_made
     and not exists (select from outbox_held c where c.id = r.id and c.cancelled_at is not null);
  if v_ids is null then
    return v_made;
  elsif cardinality(v_ids) > 1
     or exists (select from outbox_find(outbox_receipt_row.task_id) f where f.id = v_made)
     or exists (select from outbox_held h where h.id = v_made and h.task_id = outbox_receipt_row.task_id)
     or exists (select from outbox_dead d where d.id = v_made and d.task_id = outbox_receipt_row.task_id) then
    return null;
  end if;
  return v_ids[1];
end
$$;
