-- Copies how far the markers have come.
select /*schema.*/outbox_mark($1, $2, $3);
