-- Full copies of rows that cannot be published.
select /*schema.*/outbox_bury($1, $2, $3, $4, $5);
