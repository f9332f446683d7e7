-- outbox_refuse(): keeps out of the log what could not become a message, with a sentence that says what to pass.
--
-- Row trigger before every insert into the outbox, so the same for the functions, a plain INSERT and COPY. Raises
-- 22023 (invalid_parameter_value). The size is that of the JSON text, as it goes out: as jsonb, a number such as
-- 1e131071 takes 20 bytes. What comes compressed out of another table is unpacked.
--
-- Runs with the rights and the search_path of the producer, because a SET clause would cost more than the checks:
-- that is why every function, operator and type is named with its schema or is syntax.
create or replace function outbox_refuse()
returns trigger
language plpgsql volatile
as $$
declare
  v_bytes pg_catalog.int4 := pg_catalog.int4pl(
    pg_catalog.int4pl(pg_catalog.octet_length(new.args::pg_catalog.text), pg_catalog.octet_length(new.kwargs::pg_catalog.text)),
    pg_catalog.int4pl(pg_catalog.octet_length(new.headers::pg_catalog.text), coalesce(pg_catalog.octet_length(new.body), 0)));
  v_wrong pg_catalog.text := case
    when new.queue is null or pg_catalog.texteq(new.queue, '')
      then 'queue must be 1 to 200 bytes without control characters; got nothing: pass the name of a queue, such as ''default'''
    when pg_catalog.int4gt(pg_catalog.octet_length(new.queue), 200)
      then pg_catalog.format('queue must be 1 to 200 bytes without control characters; got %s bytes', pg_catalog.octet_length(new.queue))
    when pg_catalog.textregexeq(new.queue, '[[:cntrl:]]')
      then 'queue must be 1 to 200 bytes without control characters; got a line break, a tab or the like'
    when new.task is null or (pg_catalog.texteq(new.task, '') and new.body is null)
      then 'task must be 1 to 200 bytes without control characters; got nothing: pass the name that the worker knows it by, such as ''app.tasks.send_mail'''
    when pg_catalog.int4gt(pg_catalog.octet_length(new.task), 200)
      then pg_catalog.format('task must be 1 to 200 bytes without control characters; got %s bytes', pg_catalog.octet_length(new.task))
    when pg_catalog.textregexeq(new.task, '[[:cntrl:]]')
      then 'task must be 1 to 200 bytes without control characters; got a line break, a tab or the like'
    when new.args is null
      then 'args must be a JSON array, such as [1, 2]; got NULL: leave it out for no arguments'
    when pg_catalog.textne(pg_catalog.jsonb_typeof(new.args), 'array')
      then pg_catalog.format('args must be a JSON array, such as [1, 2]; got a JSON %s: %s', pg_catalog.jsonb_typeof(new.args),
             case when pg_catalog.texteq(pg_catalog.jsonb_typeof(new.args), 'object') then 'named arguments go into kwargs'
                  when pg_catalog.texteq(pg_catalog.jsonb_typeof(new.args), 'string') then 'pass the JSON itself, not a string that holds JSON'
                  else 'put it in brackets' end)
    when new.kwargs is null
      then 'kwargs must be a JSON object, such as {"id": 1}; got NULL: leave it out for no arguments'
    when pg_catalog.textne(pg_catalog.jsonb_typeof(new.kwargs), 'object')
      then pg_catalog.format('kwargs must be a JSON object, such as {"id": 1}; got a JSON %s: %s', pg_catalog.jsonb_typeof(new.kwargs),
             case when pg_catalog.texteq(pg_catalog.jsonb_typeof(new.kwargs), 'string') then 'pass the JSON itself, not a string that holds JSON'
                  else 'positional arguments go into args' end)
    when new.headers is null
      then 'headers must be a JSON object, such as {"k": "v"}; got NULL: leave it out for no headers'
    when pg_catalog.textne(pg_catalog.jsonb_typeof(new.headers), 'object')
      then pg_catalog.format('headers must be a JSON object, such as {"k": "v"}; got a JSON %s', pg_catalog.jsonb_typeof(new.headers))
    -- The setting is not asked for what is small.
    when pg_catalog.int4gt(v_bytes, 1024) and pg_catalog.int48gt(v_bytes, pg_catalog.int8smaller(16777216, pg_catalog.pg_size_bytes(
           coalesce(nullif(pg_catalog.current_setting('outbox.max_message', true), ''), '1MB'))))
      then pg_catalog.format('a message must be at most %s bytes (outbox.max_message); got %s bytes: store the data elsewhere and pass its id, or raise the setting, up to 16MB',
             pg_catalog.int8smaller(16777216, pg_catalog.pg_size_bytes(
               coalesce(nullif(pg_catalog.current_setting('outbox.max_message', true), ''), '1MB'))), v_bytes)
    when pg_catalog.int2lt(new.priority, 0::pg_catalog.int2) or pg_catalog.int2gt(new.priority, 9::pg_catalog.int2)
      then 'priority must be 0 (first) to 9 (last), or NULL for 0'
    -- What drivers and workers cannot represent, infinity above all.
    when pg_catalog.timestamptz_lt(new.deliver_at, '1900-01-01 00:00:00+00') or pg_catalog.timestamptz_ge(new.deliver_at, '9000-01-01 00:00:00+00')
      then pg_catalog.format('deliver_at must lie between the years 1900 and 9000; got %s: leave it out for at once', new.deliver_at)
    when pg_catalog.timestamptz_lt(new.expires_at, '1900-01-01 00:00:00+00') or pg_catalog.timestamptz_ge(new.expires_at, '9000-01-01 00:00:00+00')
      then pg_catalog.format('expires_at must lie between the years 1900 and 9000; got %s: leave it out for never', new.expires_at)
    when pg_catalog.timestamptz_lt(new.created_at, '1900-01-01 00:00:00+00') or pg_catalog.timestamptz_ge(new.created_at, '9000-01-01 00:00:00+00')
      then pg_catalog.format('created_at must lie between the years 1900 and 9000; got %s: leave it out for now', new.created_at)
  end;
begin
  if v_wrong is not null then
    raise exception using errcode = '22023', message = v_wrong;
  end if;
  -- Messages are UTF-8. SQL_ASCII takes any bytes, and other encodings have characters that UTF-8 does not.
  if pg_catalog.namene(pg_catalog.getdatabaseencoding(), 'UTF8') then
    begin
      perform pg_catalog.convert_to(
        pg_catalog.concat(new.queue, new.task, new.args::pg_catalog.text, new.kwargs::pg_catalog.text, new.headers::pg_catalog.text), 'UTF8');
    exception when character_not_in_repertoire or untranslatable_character then
      raise exception using errcode = '22023', message = pg_catalog.format(
        'queue, task, args, kwargs and headers must be text in UTF-8, or convertible to it; the encoding of the database is %s: set client_encoding to what the application sends',
        pg_catalog.getdatabaseencoding());
    end;
  end if;
  -- Values this small are never compressed. Concatenation with nothing hands back the unpacked value, unchanged.
  if pg_catalog.int4gt(v_bytes, 1000) then
    if pg_catalog.pg_column_compression(new.args) is not null then
      new.args := pg_catalog.jsonb_concat(new.args, '[]');
    end if;
    if pg_catalog.pg_column_compression(new.kwargs) is not null then
      new.kwargs := pg_catalog.jsonb_concat(new.kwargs, '{}');
    end if;
    if pg_catalog.pg_column_compression(new.headers) is not null then
      new.headers := pg_catalog.jsonb_concat(new.headers, '{}');
    end if;
  end if;
  return new;
end
$$;
