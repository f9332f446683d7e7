-- Everything that is known of the dead rows with a task id, newest first; more than one only if a caller used the id twice.
select d.id, d.task_id, d.queue, /*schema.*/outbox_shown(d.task),
       case when u.why is null then d.args::text else to_json(/*schema.*/outbox_shown(d.args::text))::text end,
       case when u.why is null then d.kwargs::text else to_json(/*schema.*/outbox_shown(d.kwargs::text))::text end,
       case when u.why is null then d.headers::text else to_json(/*schema.*/outbox_shown(d.headers::text))::text end, d.body, d.priority, d.deliver_at,
       d.expires_at, d.created_at, d.batch, d.error_class, d.error, d.attempts, d.first_failed_at, d.last_failed_at,
       exists (select from /*schema.*/outbox_receipt r where r.task_id = d.task_id and r.once_row = d.id) as done
  from /*schema.*/outbox_dead d
 cross join lateral (select /*schema.*/outbox_unreadable(d.task, d.args, d.kwargs, d.headers) as why) u
 where d.task_id = $1
 order by d.id desc;
