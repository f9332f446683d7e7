-- outbox_task_id(id): a new task id for the row of that id, which it embeds: a version-8 UUID, half of it random.
create or replace function outbox_task_id(id bigint)
returns uuid
language sql volatile
set search_path from current
as $$
  select (encode(int8send(((id >> 12) << 16) | 32768 | (id & 4095)), 'hex') || substr(gen_random_uuid()::text, 20))::uuid
$$;
