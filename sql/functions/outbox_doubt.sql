-- outbox_doubt(queue, tenure, base): something other than a consumer removed messages at or below the base: from now on
-- absence proves nothing until outbox_certify has settled that, by whichever relay. False: the tenure is not the
-- queue's current one any more.
create or replace function outbox_doubt(p_queue text, p_tenure uuid, p_base bigint)
returns boolean
language plpgsql volatile
set search_path from current
as $$
begin
  update outbox_tenure t set certified = false, base = greatest(case when not t.certified then t.base end, p_base)
   where t.token = p_tenure and t.queue = p_queue and t.cap is null;
  return found;
end
$$;
