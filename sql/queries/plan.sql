-- Decides the next batch of a queue. Alone in an explicit READ COMMITTED transaction.
select status, batch, at, rows, id, task_id, task, args, kwargs, headers, body, priority, expires_at, created_at,
       retried, null::text as unreadable
  from /*schema.*/outbox_plan($1, $2, $3, $4, $5, $6, $7);
