-- outbox_duplicates(queue): how many rows may be consumed twice by what the incidents say that this transaction has
-- written. An operator's replay and a repair are not counted. Asked in the statement that noticed a loss, after it.
create or replace function outbox_duplicates(p_queue text)
returns bigint
language plpgsql volatile
set search_path from current
as $$
begin
  return (select coalesce(sum(i.duplicates_possible), 0) from outbox_incident i
           where i.queue = p_queue and i.cause not in ('operator', 'repair')
             and i.xmin = pg_current_xact_id()::xid);
end
$$;
