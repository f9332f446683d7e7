-- outbox_pushed(queue, after, upto): how many messages the batches above `after`, up to `upto`, have put into Redis, at the
-- least. NULL: too many to count. Part of outbox_open.
create or replace function outbox_pushed(p_queue text, p_after bigint, p_upto bigint)
returns bigint
language plpgsql stable
set search_path from current
set jit = off
as $$
declare
  v_most constant bigint := 20000;
begin
  if p_after is null or (select sum(b.rows) from outbox_batch b
                          where b.queue = p_queue and b.batch > p_after and b.batch <= p_upto) > v_most then
    return null;
  end if;
  -- Rows that may have expired, or that no message could be made of, do not count.
  return (select count(*)
            from generate_series(p_after + 1, p_upto) as n(batch)
           cross join lateral outbox_resend(p_queue, n.batch) r
           where r.id is not null and r.expires_at is null
             and not exists (select from outbox_dead d where d.id = r.id));
end
$$;
