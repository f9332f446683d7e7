-- outbox_truncatable(): the segments that are sealed and hold rows, oldest first. Asks only the catalog and one row each.
create or replace function outbox_truncatable()
returns setof integer
language sql volatile
set search_path from current
as $$
  select s.segment::integer
    from outbox_segment s
   where s.segment not in (pg_sequence_last_value('outbox_segment_seq'::regclass),
                           (pg_sequence_last_value('outbox_segment_seq'::regclass) + 7) % 8)
     and pg_relation_size(('outbox_s' || s.segment)::regclass) > 0
   order by s.sealed_at nulls first
$$;
