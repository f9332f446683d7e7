-- Puts back what the head of the script has set.
do $outboxd$
begin
  perform set_config('search_path', current_setting('outboxd.search_path'), false);
  perform set_config('check_function_bodies', current_setting('outboxd.check_function_bodies'), false);
end
$outboxd$;
