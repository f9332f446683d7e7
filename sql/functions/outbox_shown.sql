-- outbox_shown(text): the text, if it can be sent to any client; else with its bytes escaped, such as \377. For people.
create or replace function outbox_shown(p_text text)
returns text
language plpgsql volatile
set search_path from current
as $$
begin
  if outbox_unreadable(p_text, null, null, null) is null then
    return p_text;
  end if;
  return encode(convert_to(p_text, getdatabaseencoding()), 'escape');
end
$$;
