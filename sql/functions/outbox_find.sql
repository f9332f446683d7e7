-- outbox_find(task_id): the rows of the log with that task id, by index: through the row id that it embeds, in the
-- queues that relays know, else in all that the log holds; and through the partial index over task ids that callers
-- chose. More than one only if a caller used a task id twice.
create or replace function outbox_find(task_id uuid)
returns table (queue text, id bigint, xid xid8, deliver_at timestamptz, expires_at timestamptz)
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
declare
  v_id bigint := outbox_row_id(task_id);
begin
  if v_id is not null then
    return query
      select o.queue, o.id, o.xid, o.deliver_at, o.expires_at from /*app.*/outbox o
       where o.queue = any(array(select q.queue from outbox_queue q)) and o.id = v_id and o.task_id = outbox_find.task_id;
    if not found then
      return query
        select o.queue, o.id, o.xid, o.deliver_at, o.expires_at from /*app.*/outbox o
         where o.queue = any(array(select k.queue from outbox_known_in_log() k)) and o.id = v_id
           and o.task_id = outbox_find.task_id;
    end if;
  end if;
  -- The second condition is the index's own: without it, the index cannot be used.
  return query
    select o.queue, o.id, o.xid, o.deliver_at, o.expires_at from /*app.*/outbox o
     where o.task_id = outbox_find.task_id
       and substr(uuid_send(o.task_id), 1, 8) <> int8send(((o.id >> 12) << 16) | 32768 | (o.id & 4095));
end
$$;
