-- outbox_resend(queue, batch): what a batch that was published before must bring again: outbox_read's answer without the
-- rows that a receipt proves consumed, without dead ones, and without those that a newer batch holds or will hold. Rows
-- that outlived their segment come from outbox_held, in their place.
create or replace function outbox_resend(p_queue text, p_batch bigint)
returns table (batch bigint, kind text, at timestamptz, rows integer,
               id bigint, task_id uuid, task text, args jsonb, kwargs jsonb, headers jsonb, body bytea,
               priority smallint, expires_at timestamptz, created_at timestamptz, retried boolean)
language plpgsql volatile
set search_path from current
set jit = off
as $$
begin
  return query
    select r.* from outbox_read(p_queue, p_batch) r where r.id is null or outbox_wants(r.id, r.task_id, p_batch);
  return query
    select null::bigint, null::text, null::timestamptz, null::integer,
           h.id, h.task_id, h.task, h.args, h.kwargs, h.headers, h.body, h.priority, h.expires_at, h.created_at,
           h.died is not null
      from outbox_held h
     where h.queue = p_queue and h.batch = p_batch and h.incident is null and h.deliver_at is null
       and not outbox_in_log(h.queue, h.id) and outbox_wants(h.id, h.task_id, p_batch)
       and exists (select from outbox_batch b where b.queue = p_queue and b.batch = p_batch and b.kind = 'log')
     order by h.id;
end
$$;
