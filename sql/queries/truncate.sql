-- Empties a sealed segment if nobody needs it.
select /*schema.*/outbox_truncate($1, make_interval(secs => $2), make_interval(secs => $3));
