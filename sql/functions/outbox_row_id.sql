-- outbox_row_id(task_id): the id of the row that a task id embeds; NULL if it does not look like one of ours.
-- The answer is a candidate: whoever looks the row up compares its task_id.
create or replace function outbox_row_id(task_id uuid)
returns bigint
language sql immutable
set search_path from current
as $$
  select case when t.high >= 0 and (t.high & 61440) = 32768 then ((t.high >> 16) << 12) | (t.high & 4095) end
    from (select ('x' || substr(encode(uuid_send(task_id), 'hex'), 1, 16))::bit(64)::bigint as high) t
$$;
