-- Which PostgreSQL this is, without the packager's remarks.
select split_part(current_setting('server_version'), ' ', 1)
