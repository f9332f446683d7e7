-- Makes a restored or copied database relay again.
select queue, rows from /*schema.*/outbox_repair();
