-- outbox_believed(queue, checkpoint, destination, incarnation, seen, position, newest): how far a marker that was observed
-- at a destination is believed. Part of outbox_open, under the queue's lock; reads only.
--   trusted   the position from which batches are sent again
--   cause     first | kept | rolled_back | missing | unknown | adopted, why; moved: an operator decides
--   starts    batches at or below went to an earlier destination
--   was_here  whether this destination was the queue's before it went elsewhere
--   life      the incarnation of the queue's last tenure
create or replace function outbox_believed(
  q outbox_queue, k outbox_checkpoint, p_destination text, p_incarnation text, p_seen uuid, p_position bigint,
  p_newest bigint)
returns table (trusted bigint, cause text, starts bigint, was_here boolean, life text)
language plpgsql stable
set search_path from current
as $$
declare
  v_last  outbox_tenure;
  v_seen  outbox_tenure;
  v_moved boolean;     -- its last destination is another server
begin
  select t.* into v_last from outbox_tenure t
   where t.queue = q.queue order by (t.cap is null) desc, t.opened_at desc limit 1;
  select t.* into v_seen from outbox_tenure t where t.token = p_seen and t.queue = q.queue;
  life := v_last.incarnation;
  starts := 0;
  was_here := false;

  -- One process is one server, however two relays spell its address.
  v_moved := v_last.destination <> p_destination
         and not (v_last.incarnation = p_incarnation
                  and regexp_replace(v_last.destination, '^[^/]*/', '') = regexp_replace(p_destination, '^[^/]*/', ''));

  if v_last.token is null then
    trusted := 0;
    cause := 'first';
  elsif v_moved and v_seen.destination is distinct from v_last.destination then
    -- Another destination than the last; a marker that was written at the last one would mean that only its name is new.
    if q.move_to is null and coalesce(k.position, 0) < p_newest then
      cause := 'moved';
    else
      trusted := coalesce(q.move_to, p_newest);
      starts := trusted;
      cause := 'adopted';
    end if;
  else
    starts := v_last.starts;
    was_here := exists (select from outbox_tenure t where t.queue = q.queue and t.destination = p_destination
                                                      and t.starts <> v_last.starts);
    if v_seen.token is null then
      trusted := 0;
      cause := case when p_newest <= starts and not was_here then 'first' when p_seen is null then 'missing'
                    else 'unknown' end;
    else
      trusted := least(p_position, coalesce(v_seen.cap, p_newest), p_newest);
      -- All that the queue sent here before it went elsewhere is still here: what follows begins where it came back.
      if was_here and trusted < starts and trusted = v_seen.cap and not exists (
           select from outbox_tenure t where t.queue = q.queue and t.destination = p_destination
                                         and t.starts < v_last.starts and t.opened_at > v_seen.opened_at) then
        trusted := starts;
      end if;
      cause := case when trusted < k.position then 'rolled_back' else 'kept' end;
    end if;
  end if;
  return next;
end
$$;
