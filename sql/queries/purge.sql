-- Discards what was never published, or moves it.
select incident, pending, held, again, published from /*schema.*/outbox_purge($1, $2, $3, $4, $5, $6, $7);
