-- outbox_resume_stopped(): lets every queue go on that a relay stopped; those that an operator paused stay paused. Answers
-- their names. Rings.
create or replace function outbox_resume_stopped()
returns setof text
language plpgsql volatile
set search_path from current
as $$
begin
  return query
    update outbox_queue q
       set stopped_reason = null, stopped_by = null, stopped_at = null, resumes = q.resumes + 1, resumed_at = clock_timestamp()
     where q.stopped_reason is not null and not q.paused
    returning q.queue;
  if found then
    perform pg_notify('outbox', '');
  end if;
end
$$;
