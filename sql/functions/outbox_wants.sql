-- outbox_wants(id, task_id, batch): whether a row must go out again if that batch does: not if a receipt proves that it
-- was consumed, if it is dead (an operator may retry it), if it is cancelled (an operator may discard any row,
-- outbox_purge), or if it is scheduled again or planned by a newer batch.
create or replace function outbox_wants(p_id bigint, p_task_id uuid, p_batch bigint)
returns boolean
language sql stable
set search_path from current
as $$
  select not exists (select from outbox_receipt t where t.task_id = p_task_id and (t.acked_row = p_id or t.once_row = p_id))
     and not exists (select from outbox_dead d where d.id = p_id)
     and not exists (select from outbox_held h where h.id = p_id
                        and (h.cancelled_at is not null
                             or h.incident is not null and (h.batch is null or h.batch > p_batch)))
$$;
