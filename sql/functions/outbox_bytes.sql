-- outbox_bytes(task, args, kwargs, headers, body): about how many bytes a row takes as a message: what batches are cut by.
--
-- An expression under a name: stable and without a SET clause, so that the server puts its text in the place of the call.
create or replace function outbox_bytes(p_task text, p_args jsonb, p_kwargs jsonb, p_headers jsonb, p_body bytea)
returns integer
language sql stable
as $$
  select 100 + octet_length(p_task) + pg_column_size(p_args) + pg_column_size(p_kwargs) + pg_column_size(p_headers)
         + coalesce(octet_length(p_body), 0)
$$;
