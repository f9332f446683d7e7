-- Lets producers move on to the next segment.
select /*schema.*/outbox_rotate(make_interval(secs => $1), $2);
