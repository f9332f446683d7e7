-- outbox_unreadable(task, args, kwargs, headers): why a row's text cannot be sent to a relay, in a sentence; NULL if it
-- can. Where the encoding of the database is UTF8, it always can. outbox_refuse keeps such rows out of the log; with
-- triggers off they come in.
create or replace function outbox_unreadable(p_task text, p_args jsonb, p_kwargs jsonb, p_headers jsonb)
returns text
language plpgsql volatile
set search_path from current
as $$
begin
  if getdatabaseencoding() <> 'UTF8' then
    perform convert_to(concat(p_task, p_args::text, p_kwargs::text, p_headers::text), 'UTF8');
  end if;
  return null;
exception when character_not_in_repertoire or untranslatable_character then
  return format('task, args, kwargs or headers hold text that is not UTF-8; the encoding of the database is %s',
                getdatabaseencoding());
end
$$;
