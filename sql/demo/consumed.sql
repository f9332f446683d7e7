-- Whether every batch of every queue is known to be consumed.
select coalesce(bool_and(k.consumed = b.batch and cardinality(k.outstanding) = 0), false)
  from outboxd.outbox_queue q
 cross join lateral (select e.batch from outboxd.outbox_batch e where e.queue = q.queue order by e.batch desc limit 1) b
 cross join lateral (select c.consumed, c.outstanding from outboxd.outbox_checkpoint c where c.queue = q.queue
                      order by c.checkpoint desc limit 1) k;
