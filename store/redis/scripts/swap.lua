-- writ:write
-- KEYS: set, cell, news. ARGV: the head that the cell must have, its new value.
-- Answers 1, or the cell as it is.
local master = serving(KEYS[1])
if not master then return demoted() end
if redis.call('GETRANGE', KEYS[2], 0, 39) ~= ARGV[1] then return redis.call('GET', KEYS[2]) end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', 100, '*', 'n', '')
return 1
