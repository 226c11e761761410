-- KEYS: set, cell. ARGV: the head that is known. Answers 0 where the cell still
-- has it, else the cell.
local master = serving(KEYS[1])
if not master then return demoted() end
if ARGV[1] ~= '' and redis.call('GETRANGE', KEYS[2], 0, 39) == ARGV[1] then return 0 end
return redis.call('GET', KEYS[2])
