-- Lets a queue go on.
select /*schema.*/outbox_resume($1);
