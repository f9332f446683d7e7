-- outbox_mark(queues, tenures, positions): copies how far the markers have come into Postgres, where something changed.
-- A relay whose tenure is no longer its queue's current one writes nothing, and within a tenure a checkpoint never goes
-- back: opening has written where it begins, and the marker may still stand below that (it passes what needs no
-- messages in one step), or two calls may overtake each other. A position above the newest ledger number is from before
-- a crash of the server that lost entries: they are planned again, and Redis has lost nothing. What was consumed stays
-- as it was known. Answers how many checkpoints were written.
create or replace function outbox_mark(p_queues text[], p_tenures uuid[], p_positions bigint[])
returns integer
language plpgsql volatile
set search_path from current
as $$
declare
  v_written integer;
begin
  -- Whoever writes a checkpoint holds its tenure's lock since before it read the newest one: an opening that closes the
  -- tenure waits for this commit, and the reverse; and of two that write at once, the later one copies what the other knew.
  perform from outbox_tenure t where t.token = any(p_tenures) and t.cap is null order by t.token for no key update;
  insert into outbox_checkpoint (queue, position, consumed, outstanding, evidence, facts)
  select m.queue, m.position, k.consumed, k.outstanding, 'marker', k.facts
    from unnest(p_queues, p_tenures, p_positions) as m(queue, tenure, position)
    join outbox_tenure t on t.token = m.tenure and t.queue = m.queue and t.cap is null
    left join lateral (select c.* from outbox_checkpoint c where c.queue = m.queue
                        order by c.checkpoint desc limit 1) k on true
   where m.position > coalesce(k.position, -1)
     and m.position <= (select max(b.batch) from outbox_batch b where b.queue = m.queue);
  get diagnostics v_written = row_count;
  return v_written;
end
$$;
