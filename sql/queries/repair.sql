-- Makes a restored or copied database relay again.
select queue, rows from /*schema.*/outbox_repair(make_interval(secs => $1));
