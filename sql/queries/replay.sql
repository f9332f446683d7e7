-- An operator's replay.
select incident, batches, rows, first, last from /*schema.*/outbox_replay($1, $2, $3, $4, $5, $6, $7, $8);
