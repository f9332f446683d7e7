-- outbox_plan_ids(cursor, tenure, relay, max_rows, max_bytes): plans held rows that are due. Part of outbox_plan.
--
-- In the order of their time, then of their insertion. The cursor in the log does not move. A row that is being
-- cancelled at this moment is passed over. Answers planned, more or idle.
create or replace function outbox_plan_ids(
  cur outbox_batch, p_tenure uuid, p_relay text, p_max_rows integer, p_max_bytes bigint)
returns text
language plpgsql volatile
set search_path from current
set jit = off
as $$
declare
  nxt     outbox_batch := cur;
  v_more  boolean;
begin
  select array_agg(w.id order by w.n) filter (where w.fits), count(*) filter (where w.fits),
         coalesce(sum(w.bytes) filter (where w.fits), 0), coalesce(bool_or(not w.fits), false)
    into nxt.ids, nxt.rows, nxt.bytes, v_more
    from (select s.id, s.n, s.bytes,
                 s.n = 1 or (s.n <= p_max_rows and sum(s.bytes) over (order by s.n) <= p_max_bytes) as fits
            from (select d.id, d.bytes, row_number() over (order by d.due, d.id) as n
                    from (select h.id, h.due, outbox_bytes(h.task, h.args, h.kwargs, h.headers, h.body) as bytes
                            from outbox_held h
                           where h.queue = cur.queue and h.batch is null and h.cancelled_at is null
                             and h.due <= clock_timestamp()
                           order by h.due, h.id
                           limit p_max_rows + 1
                             for update skip locked) d) s) w;
  if nxt.ids is null then
    return 'idle';
  end if;

  nxt.batch  := cur.batch + 1;
  nxt.kind   := 'ids';
  nxt.tenure := p_tenure;
  nxt.relay  := p_relay;
  nxt.at     := clock_timestamp();
  update outbox_held h set batch = nxt.batch where h.id = any(nxt.ids);
  insert into outbox_batch select nxt.*;
  return case when v_more then 'more' else 'planned' end;
end
$$;
