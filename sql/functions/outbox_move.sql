-- outbox_move(queue, resend): decides where a queue starts at a new destination. resend: at the last position that the
-- old destination is known to have reached, so that what it may not have got is sent to the new one. Otherwise at the
-- newest batch: what was planned for the old destination stays there. Answers that ledger number; NULL: no such queue.
create or replace function outbox_move(p_queue text, p_resend boolean)
returns bigint
language sql volatile
set search_path from current
as $$
  update outbox_queue q
     set move_to = case when p_resend
           then coalesce((select c.position from outbox_checkpoint c where c.queue = q.queue order by c.checkpoint desc limit 1), 0)
           else coalesce((select max(b.batch) from outbox_batch b where b.queue = q.queue), 0) end,
         resumes = q.resumes + 1
   where q.queue = p_queue
  returning q.move_to
$$;
