-- outbox_newest_batch(queue, id): the newest batch that holds a row; NULL if none does, because the row waits to be planned
-- (again) or is unknown. Where the ledger was trimmed, its oldest entry stands for everything below.
create or replace function outbox_newest_batch(p_queue text, p_id bigint)
returns bigint
language plpgsql stable
set search_path from current
as $$
declare
  v_batch bigint;
  v_xid   xid8;
begin
  select h.batch into v_batch from outbox_held h where h.id = p_id;
  if found then
    return v_batch;
  end if;
  select o.xid into v_xid from /*app.*/outbox o where o.queue = p_queue and o.id = p_id;
  return outbox_batch_of(p_queue, p_id, v_xid);
end
$$;
