-- The messages of a batch of the ledger, again: those that still must go out.
select null::text as status, batch, at, rows, id, task_id, task, args, kwargs, headers, body, priority, expires_at, created_at,
       retried, null::text as unreadable
  from /*schema.*/outbox_resend($1, $2);
