-- writ:write
-- ARGV: instance that is known, id and MAC of the last record that was seen; the
-- instance that must serve, or nothing in the first step of an open; the id and MAC
-- that the tail must have, and its top; the index of the first record to add; for
-- an open its lineage, place and the name for a new data set, else nothing; then
-- the records.
local master, instance = serving(KEYS[1])
if not master then return demoted() end
local last, data, top = tail(KEYS[2])
if instance ~= ARGV[4] or last ~= ARGV[5] or string.sub(data, -32) ~= ARGV[6] or top ~= ARGV[7] then
  return status(instance, ARGV[1], ARGV[2], ARGV[3])
end
if ARGV[11] ~= '' then redis.call('SET', KEYS[1], ARGV[11]) end
local first = tonumber(ARGV[8])
for i = 12, #ARGV do
  redis.call('XADD', KEYS[2], string.format('%.0f-0', first + i - 12), 'r', ARGV[i])
end
if ARGV[9] ~= '' then redis.call('HSET', KEYS[3], ARGV[9], ARGV[10]) end
return {'done'}
