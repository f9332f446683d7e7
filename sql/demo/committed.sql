-- The tasks of all orders that were committed.
select task_id from orders
