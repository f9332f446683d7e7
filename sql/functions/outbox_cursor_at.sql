-- outbox_cursor_at(queue, batch): the cursor after the newest finished tick at or below a batch; NULLs if there is none.
create or replace function outbox_cursor_at(p_queue text, p_batch bigint)
returns outbox_batch
language sql stable
set search_path from current
as $$
  select b from outbox_batch b
   where b.queue = p_queue and b.batch <= p_batch and b.t_snap is null
   order by b.batch desc limit 1
$$;
