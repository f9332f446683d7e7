-- Deletes what nobody needs any more.
select /*schema.*/outbox_trim(make_interval(secs => $1), make_interval(secs => $2), $3);
