-- plan.sql, for when the server cannot send its answer: a row with text that is not UTF-8 comes without it, and with a
-- sentence. Alone in an explicit READ COMMITTED transaction.
select r.status, r.batch, r.at, r.rows, r.id, r.task_id,
       case when u.why is null then r.task else '' end as task,
       case when u.why is null then r.args else '[]' end as args,
       case when u.why is null then r.kwargs else '{}' end as kwargs,
       case when u.why is null then r.headers else '{}' end as headers,
       r.body, r.priority, r.expires_at, r.created_at, r.retried, u.why as unreadable
  from /*schema.*/outbox_plan($1, $2, $3, $4, $5, $6, $7) r
 cross join lateral (select /*schema.*/outbox_unreadable(r.task, r.args, r.kwargs, r.headers) as why) u;
