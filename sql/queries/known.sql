-- The queues that have a ledger, and those that only the log names so far.
select queue from /*schema.*/outbox_queue
 union
select queue from /*schema.*/outbox_known_in_log()
 where getdatabaseencoding() = 'UTF8' or /*schema.*/outbox_unreadable(queue, null, null, null) is null
 order by queue;
