-- writ:write
-- ARGV: instance that is known, id and MAC of the last record that was seen; the
-- instance that must serve; the MAC that the last record must have, and the top; the
-- index of the first record to add; for an open its lineage, place and the name for a
-- new data set, else nothing; then the records.
local master, instance = serving(KEYS[1])
if not master then return demoted() end
local _, data, top = tail(KEYS[2])
if instance ~= ARGV[4] or string.sub(data, -32) ~= ARGV[5] or top ~= ARGV[6] then
  return status(instance, ARGV[1], ARGV[2], ARGV[3])
end
if ARGV[10] ~= '' then redis.call('SET', KEYS[1], ARGV[10]) end
local first = tonumber(ARGV[7])
for i = 11, #ARGV do
  redis.call('XADD', KEYS[2], string.format('%.0f-0', first + i - 11), 'r', ARGV[i])
end
if ARGV[8] ~= '' then redis.call('HSET', KEYS[3], ARGV[8], ARGV[9]) end
return {'done'}
