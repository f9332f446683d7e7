-- outbox_status(task_id): held, pending, dispatched, consumed, expired, dead or cancelled (see outbox_state); NULL for
-- a task id that is unknown or forgotten. Of rows that share a task id, the newest counts. Volatile, so that it sees
-- what the same statement enqueued or cancelled before.
create or replace function /*app.*/outbox_status(task_id uuid)
returns text
language plpgsql volatile
security definer
set search_path from current
as $$
begin
  return (select s.state
            from (select r.* from (
                    select f.queue, f.id, f.xid, f.deliver_at, f.expires_at from outbox_find(outbox_status.task_id) f
                    union all
                    select h.queue, h.id, null, h.deliver_at, h.expires_at from outbox_held h
                     where h.task_id = outbox_status.task_id
                    union all
                    select d.queue, d.id, null, d.deliver_at, d.expires_at from outbox_dead d
                     where d.task_id = outbox_status.task_id) r
                   order by r.id desc, r.xid is null
                   limit 1) n
           cross join lateral outbox_state(n.queue, n.id, n.xid, outbox_status.task_id, n.deliver_at, n.expires_at) s);
end
$$;
