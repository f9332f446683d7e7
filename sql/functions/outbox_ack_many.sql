-- outbox_ack_many(task_ids, outbox_ids): outbox_ack for many at once, in one statement; outbox_ids, if it is given, has an
-- element, which may be NULL, for each task id. Answers how many had not been acknowledged before. In the order of the ids,
-- so that two workers whose sets overlap wait for each other instead of deadlocking.
create or replace function /*app.*/outbox_ack_many(task_ids uuid[], outbox_ids bigint[] default null)
returns integer
language plpgsql volatile
security definer
set search_path from current
set enable_seqscan = off
set jit = off
as $$
declare
  v_new integer;
begin
  if task_ids is null or array_position(task_ids, null) is not null then
    raise exception 'task_ids must be an array of ids of tasks; got NULL, or one that holds NULL' using errcode = '22023';
  elsif cardinality(outbox_ids) <> cardinality(task_ids) then
    raise exception 'outbox_ids must have one element per task id, NULL where none is known: task_ids has %, outbox_ids has %',
      cardinality(task_ids), cardinality(outbox_ids) using errcode = '22023';
  end if;
  insert into outbox_receipt as r (task_id, outbox_id, acked_at, acked_row)
  -- Nearly always a task id embeds its only row: then nothing is looked up for it.
  select i.id, coalesce(i.named, 0), clock_timestamp(),
         case when i.named is not null then i.named
              when i.id in (select o.task_id from /*app.*/outbox o
                             where o.task_id = any(task_ids)
                               and substr(uuid_send(o.task_id), 1, 8) <> int8send(((o.id >> 12) << 16) | 32768 | (o.id & 4095))
                            union all
                            select h.task_id from outbox_held h where h.task_id = any(task_ids)
                            union all
                            select d.task_id from outbox_dead d where d.task_id = any(task_ids))
              then outbox_receipt_row(i.id, null)
              else outbox_row_id(i.id) end
    from (select distinct u.id, u.named from unnest(task_ids, outbox_ids) as u(id, named) order by u.id, u.named nulls first) i
      on conflict on constraint outbox_receipt_pkey do update
     set acked_at = excluded.acked_at, acked_row = excluded.acked_row
   where r.acked_at is null or (excluded.acked_row is not null and r.acked_row is distinct from excluded.acked_row);
  get diagnostics v_new = row_count;
  return v_new;
end
$$;
