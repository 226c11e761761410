-- ARGV: instance that is known, id and MAC of the last record that was seen.
local master, instance = serving(KEYS[1])
if not master then return demoted() end
return status(instance, ARGV[1], ARGV[2], ARGV[3])
