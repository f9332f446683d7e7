-- Decides where a queue starts at a new destination.
select /*schema.*/outbox_move($1, $2);
