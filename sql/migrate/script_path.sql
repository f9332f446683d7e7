-- Everything from here on is unqualified; functions keep this path. Bodies may name what is made later.
set search_path = /*schema*/, pg_temp;
set check_function_bodies = off;
