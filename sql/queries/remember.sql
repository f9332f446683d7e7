-- What a look saw of Redis beside the messages.
select /*schema.*/outbox_remember($1, $2, $3::text::jsonb);
