-- outbox_in_log(queue, id): whether the log holds that row.
create or replace function outbox_in_log(queue text, id bigint)
returns boolean
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
begin
  return exists (select from /*app.*/outbox o where o.queue = outbox_in_log.queue and o.id = outbox_in_log.id);
end
$$;
