set search_path = /*schema*/, pg_temp;
set check_function_bodies = off;
