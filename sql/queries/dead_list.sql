-- Dead rows, the one that failed last first, without their payload.
select d.task_id, d.queue, /*schema.*/outbox_shown(d.task), d.error_class, d.error, d.attempts, d.batch, d.first_failed_at, d.last_failed_at
  from /*schema.*/outbox_dead d
 where ($1::uuid[] is null or d.task_id = any($1)) and ($2::text is null or d.queue = $2) and ($3::text is null or d.task = $3)
   and ($4::text is null or d.error_class = $4)
   and ($5::timestamptz is null or d.last_failed_at >= $5) and ($6::timestamptz is null or d.last_failed_at <= $6)
 order by d.last_failed_at desc, d.id desc
 limit $7;
