-- outbox_remember(queue, tenure, facts): what a look saw of Redis beside the messages, for the relay that opens next and
-- compares. Nothing of what is known about consumption changes. False: the tenure is not the queue's current one.
create or replace function outbox_remember(p_queue text, p_tenure uuid, p_facts jsonb)
returns boolean
language plpgsql volatile
set search_path from current
as $$
begin
  -- As in outbox_mark: a position that is marked meanwhile must not be taken back, or it stays so while nothing moves.
  perform from outbox_tenure t where t.token = p_tenure and t.queue = p_queue and t.cap is null for no key update;
  if not found then
    return false;
  end if;
  insert into outbox_checkpoint (queue, position, consumed, outstanding, evidence, facts)
  select c.queue, c.position, c.consumed, c.outstanding, 'seen', p_facts
    from outbox_checkpoint c where c.queue = p_queue order by c.checkpoint desc limit 1;
  return found;
end
$$;
