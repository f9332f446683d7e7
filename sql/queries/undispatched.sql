-- The queues that hold a row from before that moment that is not known to be dispatched.
select queue from /*schema.*/outbox_undispatched($1);
