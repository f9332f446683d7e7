-- Everything that is known of the dead rows with a task id, newest first; more than one only if a caller used the id twice.
select d.id, d.task_id, d.queue, d.task, d.args::text, d.kwargs::text, d.headers::text, d.body, d.priority, d.deliver_at,
       d.expires_at, d.created_at, d.batch, d.error_class, d.error, d.attempts, d.first_failed_at, d.last_failed_at,
       exists (select from /*schema.*/outbox_receipt r where r.task_id = d.task_id and r.once_at is not null) as done
  from /*schema.*/outbox_dead d
 where d.task_id = $1
 order by d.id desc;
