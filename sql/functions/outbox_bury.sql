-- outbox_bury(queue, batch, ids, classes, errors): full copies of rows that cannot be published, with the reason.
-- Called before the batch is published, and again whenever it is: a row that is there stays as it is. One that was dead
-- before and was retried counts its attempts on. A row that a newer batch holds or will hold is left to that one: a relay
-- that was stopped for long may come with a batch from before a retry. Answers how many rows are dead by this call.
create or replace function outbox_bury(p_queue text, p_batch bigint, p_ids bigint[], p_classes text[], p_errors text[])
returns integer
language plpgsql volatile
set search_path from current
as $$
declare
  v_buried bigint[];
  v_newer  integer;
begin
  with b as (
    insert into outbox_dead (id, task_id, queue, task, args, kwargs, headers, body, priority, deliver_at, expires_at,
                             created_at, batch, error_class, error, attempts, first_failed_at)
    select r.id, r.task_id, r.queue, r.task, r.args, r.kwargs, r.headers, r.body, r.priority, r.deliver_at, r.expires_at,
           r.created_at, p_batch, e.class, e.error, coalesce((r.died ->> 'attempts')::integer, 0) + 1,
           coalesce((r.died ->> 'first_failed_at')::timestamptz, clock_timestamp())
      from unnest(p_ids, p_classes, p_errors) as e(id, class, error)
      join lateral (
        select h.id, h.task_id, h.queue, h.task, h.args, h.kwargs, h.headers, h.body, h.priority, h.deliver_at,
               h.expires_at, h.created_at, h.died from outbox_held h where h.id = e.id
        union all
        select o.id, o.task_id, o.queue, o.task, o.args, o.kwargs, o.headers, o.body, o.priority, o.deliver_at,
               o.expires_at, o.created_at, null from /*app.*/outbox o where o.queue = p_queue and o.id = e.id
        limit 1) r on true
        on conflict (id) do nothing
    returning id)
  select array_agg(b.id) into v_buried from b;
  -- In a new statement: a retry that committed while the one above waited for it is seen.
  delete from outbox_dead d using outbox_held h
   where d.id = any(v_buried) and h.id = d.id and h.incident is not null and (h.batch is null or h.batch > p_batch);
  get diagnostics v_newer = row_count;
  return coalesce(cardinality(v_buried), 0) - v_newer;
end
$$;
