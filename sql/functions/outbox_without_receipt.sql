-- outbox_without_receipt(queue, ids): those of the rows that no receipt speaks for and that are still stored, ascending;
-- without those that an operator discarded.
create or replace function outbox_without_receipt(p_queue text, p_ids bigint[])
returns bigint[]
language sql stable
set search_path from current
set enable_seqscan = off
as $$
  select coalesce(array_agg(i.id order by i.id), '{}')
    from unnest(p_ids) as i(id)
    cross join lateral (
      select h.task_id from outbox_held h where h.id = i.id
      union all
      select o.task_id from /*app.*/outbox o where o.queue = p_queue and o.id = i.id
      limit 1) r
   where not exists (select from outbox_receipt t where t.task_id = r.task_id and (t.acked_row = i.id or t.once_row = i.id))
     and not exists (select from outbox_dead d where d.id = i.id)
     and not exists (select from outbox_held h where h.id = i.id and h.cancelled_at is not null)
$$;
