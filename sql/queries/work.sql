-- What there is to do, for every queue.
select queue, newest, reached, relay, paused, resumes, has_rows, waiting_ms, next_due_ms, keeper, armed, notify_usage,
       abandoned
  from /*schema.*/outbox_work($1, $2, $3, $4);
