-- What is wrong with the ids of this database, if anything, and who it is.
select /*schema.*/outbox_identity(), (select m.installation from /*schema.*/outbox_meta m),
       current_setting('max_prepared_transactions')::bigint;
