-- INSPECT: what a user may do here, and what time it is. Writes nothing.
--
-- ARGV  number of words, then the words of a command with its key; again for each command
--
-- Replies  {seconds, microseconds, '1' if rights can be asked for, the numbers of the commands that are refused...}; what is
-- not told is ''

local time = redis.pcall('TIME')
local reply = {time.err and '' or time[1], time.err and '' or time[2], redis.acl_check_cmd and '1' or ''}
local at, number = 1, 0
while at <= #ARGV do
  local words = tonumber(ARGV[at])
  number = number + 1
  -- Servers before 7.0 cannot be asked; a command that one does not know is refused.
  if redis.acl_check_cmd then
    local known, may = pcall(redis.acl_check_cmd, unpack(ARGV, at + 1, at + words))
    if not known or not may then reply[#reply + 1] = number end
  end
  at = at + words + 1
end
return reply
