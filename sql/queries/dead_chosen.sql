-- Which dead rows a retry or a discard takes, by queue: at most $7, those that failed first, and the moment of the choice.
-- A retry ($8) leaves those out that outbox_once proves done, and those that were cancelled; `remaining` counts the others beyond $7.
with found as (
  select d.id, d.task_id, d.queue, d.last_failed_at,
         exists (select from /*schema.*/outbox_receipt r where r.task_id = d.task_id and r.once_row = d.id) as done,
         exists (select from /*schema.*/outbox_held h where h.id = d.id and h.cancelled_at is not null) as cancelled
    from /*schema.*/outbox_dead d
   where ($1::uuid[] is null or d.task_id = any($1)) and ($2::text is null or d.queue = $2) and ($3::text is null or d.task = $3)
     and ($4::text is null or d.error_class = $4)
     and ($5::timestamptz is null or d.last_failed_at >= $5) and ($6::timestamptz is null or d.last_failed_at <= $6)),
judged as (
  select f.*, not $8::boolean or not (f.done or f.cancelled) as fit from found f),
ranked as (
  select j.*, row_number() over (partition by j.fit order by j.last_failed_at, j.id) as n from judged j)
select r.queue,
       coalesce(pg_catalog.array_agg(r.id order by r.id) filter (where r.fit and r.n <= $7), '{}') as ids,
       count(*) filter (where r.done and not r.fit) as done,
       count(*) filter (where r.cancelled and not r.done and not r.fit) as cancelled,
       count(*) filter (where r.fit and r.n > $7) as remaining,
       -- Only of rows that were named: those that are missing here are not dead.
       case when $1::uuid[] is not null then pg_catalog.array_agg(distinct r.task_id) else '{}' end as task_ids,
       clock_timestamp() as at
  from ranked r
 group by r.queue
 order by r.queue;
