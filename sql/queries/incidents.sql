-- Incidents, newest first: all of them, of one queue, or a single one; and what of each still waits.
select i.incident, i.queue, i.destination, i.cause, i.evidence::text, i.relay, i.noticed_at, i.position_before,
       i.position_trusted, i.newest, i.outstanding, i.scheduled, i.replayed, i.duplicates_possible, i.recovered_at,
       i.cancelled_at,
       (select count(*) from /*schema.*/outbox_held h
         where h.incident = i.incident and h.batch is null and h.cancelled_at is null) as waiting
  from /*schema.*/outbox_incident i
 where ($1::text is null or i.queue = $1) and ($2::bigint is null or i.incident = $2)
   and ($3::boolean is not true or (i.recovered_at is null and i.cancelled_at is null))
   and ($4::boolean is not true or i.cause = 'operator')
 order by i.incident desc
 limit $5;
