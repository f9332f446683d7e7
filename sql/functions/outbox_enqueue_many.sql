-- outbox_enqueue_many(queue, task, args, kwargs, headers, deliver_at, expires_at, priority): enqueues one task per
-- element of args (an array of JSON arrays), with the element of kwargs (an array of JSON objects) at the same place.
-- Answers the task ids, and the tasks are published, in the order of args. Wrong input raises 22023 with a sentence
-- that names the element; nothing is enqueued then.
create or replace function /*app.*/outbox_enqueue_many(
  queue      text,
  task       text,
  args       jsonb[],
  kwargs     jsonb[]     default null,
  headers    jsonb       default '{}',
  deliver_at timestamptz default null,
  expires_at timestamptz default null,
  priority   integer     default null)
returns setof uuid
language plpgsql volatile
security definer
set search_path from current
as $$
#variable_conflict use_variable
declare
  v_wrong text;
begin
  v_wrong := case
    when args is null then 'args must be an array of JSON arrays, one per task, such as array[''[1]'', ''[2]'']::jsonb[]; got NULL'
    when array_ndims(args) > 1 or array_ndims(kwargs) > 1
      then 'args and kwargs must be arrays of one dimension: each element is the JSON of one task'
    when cardinality(kwargs) <> cardinality(args)
      then format('kwargs must have one JSON object per task: args has %s elements, kwargs has %s', cardinality(args), cardinality(kwargs))
    else (select case
             when jsonb_typeof(e.a) is distinct from 'array'
               then format('args[%s] must be a JSON array, such as [1, 2]; got %s', e.n, coalesce('a JSON ' || jsonb_typeof(e.a), 'NULL'))
             else format('kwargs[%s] must be a JSON object, such as {"id": 1}; got %s', e.n, coalesce('a JSON ' || jsonb_typeof(e.k), 'NULL')) end
            from unnest(args, kwargs) with ordinality as e(a, k, n)
           where jsonb_typeof(e.a) is distinct from 'array' or (kwargs is not null and jsonb_typeof(e.k) is distinct from 'object')
           order by e.n limit 1) end;
  if v_wrong is not null then
    raise exception using errcode = '22023', message = v_wrong;
  end if;

  return query
    insert into /*app.*/outbox (queue, task, args, kwargs, headers, priority, deliver_at, expires_at)
    select queue, task, e.a, coalesce(e.k, '{}'), headers,
           (case when priority between 0 and 9 then priority when priority is not null then -1 end)::smallint,
           deliver_at, expires_at
      from unnest(args, kwargs) with ordinality as e(a, k, n)
     order by e.n
    returning outbox.task_id;
end
$$;
