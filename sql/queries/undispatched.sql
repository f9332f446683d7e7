-- The queues that hold a row from before that moment that is not known to be dispatched.
select /*schema.*/outbox_shown(queue) from /*schema.*/outbox_undispatched($1);
