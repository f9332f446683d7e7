-- outbox_known_in_log(): the names of the queues that have rows in the log, by a loose scan of the index.
create or replace function outbox_known_in_log()
returns table (queue text)
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
  with recursive names as (
    (select o.queue from /*app.*/outbox o order by o.queue limit 1)
    union all
    select (select o.queue from /*app.*/outbox o where o.queue > n.queue order by o.queue limit 1)
      from names n where n.queue is not null)
  select n.queue from names n where n.queue is not null
$$;
