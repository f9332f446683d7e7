-- outbox_keep_outstanding(segment): copies the outstanding rows of a segment to outbox_held, each with its batch: the
-- segment may go, they must not. Exact under a lock that excludes writers. Answers how many were copied.
create or replace function outbox_keep_outstanding(p_segment integer)
returns bigint
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set jit = off
as $$
declare
  v_copied bigint;
begin
  insert into outbox_held (id, task_id, queue, task, args, kwargs, headers, body, priority, deliver_at, expires_at,
                           created_at, due, batch)
  select o.id, o.task_id, o.queue, o.task, o.args, o.kwargs, o.headers, o.body, o.priority, o.deliver_at, o.expires_at,
         o.created_at, o.created_at, outbox_batch_of(o.queue, o.id, o.xid)
    from outbox_queue q
    cross join lateral (select c.outstanding from outbox_checkpoint c where c.queue = q.queue
                         order by c.checkpoint desc limit 1) k
    cross join lateral unnest(k.outstanding) as i(id)
    join /*app.*/outbox o on o.segment = p_segment and o.queue = q.queue and o.id = i.id
      on conflict (id) do nothing;
  get diagnostics v_copied = row_count;
  return v_copied;
end
$$;
