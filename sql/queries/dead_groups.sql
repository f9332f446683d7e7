-- Dead rows by queue, task and error class, the most first; `error` is the one that came last.
select d.queue, /*schema.*/outbox_shown(d.task), d.error_class, count(*), min(d.first_failed_at), max(d.last_failed_at),
       (pg_catalog.array_agg(left(d.error, 1000) order by d.last_failed_at desc, d.id desc))[1] as error
  from /*schema.*/outbox_dead d
 where ($1::uuid[] is null or d.task_id = any($1)) and ($2::text is null or d.queue = $2) and ($3::text is null or d.task = $3)
   and ($4::text is null or d.error_class = $4)
   and ($5::timestamptz is null or d.last_failed_at >= $5) and ($6::timestamptz is null or d.last_failed_at <= $6)
 group by d.queue, d.task, d.error_class
 order by count(*) desc, d.queue, d.task, d.error_class
 limit $7;
