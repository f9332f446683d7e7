-- Run it in one transaction, as every migration tool does and as `psql -1 -v ON_ERROR_STOP=1 -f FILE` does.
-- No meta-commands, no BEGIN and COMMIT of its own. search_path is set for its duration and put back at its end.

do $outboxd$
begin
  if current_setting('server_version_num')::int < 140000 then
    raise exception 'outboxd needs PostgreSQL 14 or later; this server is %', current_setting('server_version');
  end if;
  perform set_config('outboxd.search_path', current_setting('search_path'), false);
  perform set_config('outboxd.check_function_bodies', current_setting('check_function_bodies'), false);
end
$outboxd$;
