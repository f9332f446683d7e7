-- What was sent again, and whether an incident is over.
select still_open, seconds from /*schema.*/outbox_recovered($1, $2, $3);
