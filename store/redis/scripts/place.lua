-- KEYS: set, stream. ARGV: a lineage. Answers the index before its first record, going
-- back from lineage to lineage; nothing where none of its records is found.
local master = serving(KEYS[1])
if not master then return demoted() end
local to, before = '+', math.huge
for _ = 1, 1000 do
  local last = redis.call('XREVRANGE', KEYS[2], to, '-', 'COUNT', 1)[1]
  local data = last and last[2][2] or ''
  if #data < 19 then return false end
  local base = tonumber(string.match(last[1], '^%d+')) - struct.unpack('>I8', data, 12)
  if base < 0 or base >= before or base > 2 ^ 53 then return false end -- not one of ours
  to, before = string.format('%.0f-0', base), base
  if string.sub(data, 4, 11) == ARGV[1] then return string.format('%.0f', base) end
end
return false
