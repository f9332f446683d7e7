-- place_order(number, fail, seconds): one order of the demo's shop, in the caller's transaction. Stores the order and
-- enqueues one task, by outbox_enqueue or by a plain INSERT: both do the same. With `fail` it raises an exception after
-- both were written. With `seconds` above 0 the task keeps a worker busy for so long, in the queue interactive.
create function place_order(number bigint, fail boolean, seconds numeric) returns uuid
language plpgsql
as $$
declare
  v_queue text  := case when seconds > 0 then 'interactive' else (array['interactive', 'default', 'batch'])[1 + number % 3] end;
  v_task  text  := case when seconds > 0 then 'demo.sleep' else 'demo.echo' end;
  v_args  jsonb := jsonb_build_array(case when seconds > 0 then seconds else number end);
  v_id    uuid;
begin
  if number % 2 = 0 then
    v_id := outbox_enqueue(v_queue, v_task, v_args);
  else
    insert into outbox (queue, task, args) values (v_queue, v_task, v_args) returning task_id into v_id;
  end if;
  insert into orders (number, task_id) values (number, v_id);
  if fail then
    raise exception 'order % is refused after it was written, on purpose', number;
  end if;
  return v_id;
end
$$
