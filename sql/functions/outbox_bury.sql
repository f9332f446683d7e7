-- outbox_bury(queue, batch, ids, classes, errors): full copies of rows that cannot be published, with the reason.
-- Called before the batch is published, and again whenever it is: a row that is there stays as it is.
create or replace function outbox_bury(p_queue text, p_batch bigint, p_ids bigint[], p_classes text[], p_errors text[])
returns integer
language plpgsql volatile
set search_path from current
as $$
declare
  v_buried integer;
begin
  insert into outbox_dead (id, task_id, queue, task, args, kwargs, headers, body, priority, deliver_at, expires_at,
                           created_at, batch, error_class, error)
  select r.id, r.task_id, r.queue, r.task, r.args, r.kwargs, r.headers, r.body, r.priority, r.deliver_at, r.expires_at,
         r.created_at, p_batch, e.class, e.error
    from unnest(p_ids, p_classes, p_errors) as e(id, class, error)
    join lateral (
      select h.id, h.task_id, h.queue, h.task, h.args, h.kwargs, h.headers, h.body, h.priority, h.deliver_at,
             h.expires_at, h.created_at from outbox_held h where h.id = e.id
      union all
      select o.id, o.task_id, o.queue, o.task, o.args, o.kwargs, o.headers, o.body, o.priority, o.deliver_at,
             o.expires_at, o.created_at from outbox o where o.queue = p_queue and o.id = e.id
      limit 1) r on true
      on conflict (id) do nothing;
  get diagnostics v_buried = row_count;
  return v_buried;
end
$$;
