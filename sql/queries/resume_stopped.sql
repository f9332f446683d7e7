-- Lets every queue go on that a relay stopped.
select * from /*schema.*/outbox_resume_stopped() order by 1;
