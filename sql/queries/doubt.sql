-- Absence proves nothing until a boundary is settled.
select /*schema.*/outbox_doubt($1, $2, $3);
