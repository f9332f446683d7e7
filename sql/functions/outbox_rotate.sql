-- outbox_rotate(min_age, size): lets producers move on to the next segment when the current one holds `size` bytes and
-- has been in use for a sixth of min_age. Answers moved, full (the next segment still holds rows: producers stay), or
-- NULL when there is nothing to do. A producer may have chosen its segment long ago: readers look at all of them.
create or replace function outbox_rotate(p_min_age interval, p_size bigint)
returns text
language plpgsql volatile
set search_path from current
as $$
declare
  v_current integer;
  v_next    integer;
  v_used    boolean;
begin
  -- nextval would jump after a crash; setval under one lock does not.
  if not pg_try_advisory_xact_lock(1331984233, ('outbox_segment_seq'::regclass::oid::bigint & 2147483647)::integer) then
    return null;
  end if;
  v_current := pg_sequence_last_value('outbox_segment_seq'::regclass);
  v_next := (v_current + 1) % 8;
  if pg_total_relation_size(('outbox_s' || v_current)::regclass) < p_size
     or exists (select from outbox_segment s where s.segment = v_current and s.opened_at > clock_timestamp() - p_min_age / 6) then
    return null;
  end if;
  select exists (select from /*app.*/outbox o where o.segment = v_next) into v_used;
  if v_used then
    return 'full';
  end if;
  perform setval('outbox_segment_seq', v_next);
  -- Also what a crash between an earlier setval and its commit left unsealed.
  update outbox_segment set sealed_at = clock_timestamp() where segment <> v_next and opened_at is not null and sealed_at is null;
  update outbox_segment set opened_at = clock_timestamp(), sealed_at = null where segment = v_next;
  return 'moved';
end
$$;
