-- The end of a log: KEYS set, stream, lineages.
local function item(stream, id)
  local found = redis.call('XRANGE', stream, id, id)[1]
  if found == nil then return nil end
  local fields = found[2]
  if #fields ~= 2 or fields[1] ~= 'r' then return '' end
  return fields[2]
end

local function index(id) return tonumber(string.match(id, '^(%d+)')) end

-- tail is the id and the bytes of the last record, and the id before which none
-- can be added.
local function tail(stream)
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  local id, data = '', ''
  if last ~= nil then
    id = last[1]
    data = item(stream, id)
  end
  local top, about = '0-0', redis.pcall('XINFO', 'STREAM', stream)
  for i = 1, #about, 2 do
    if about[i] == 'last-generated-id' then top = about[i + 1] end
  end
  return id, data, top
end

-- lost tells that what was seen at an id is no longer there, though nothing that
-- trims could have removed it.
local function lost(stream, last, seen, mac)
  if seen == '' then return false end
  if last == '' or index(last) < index(seen) then return true end
  local data = item(stream, seen)
  return data ~= nil and string.sub(data, -32) ~= mac
end

local function status(instance, known, seen, mac)
  local last, data, top = tail(KEYS[2])
  local marker, policy = '', ''
  local place = redis.call('HGET', KEYS[3], string.sub(data, 4, 11))
  if place then
    local at = string.match(place, '^%d+ (%d+)$')
    if at and at ~= '0' then marker = item(KEYS[2], at .. '-0') or '' end
  end
  if instance ~= known then
    policy = string.match(redis.call('INFO', 'memory'), 'maxmemory_policy:([^\r\n]*)') or '?'
  end
  return {'tail', instance, policy, last, data, top, tostring(redis.call('XLEN', KEYS[2])), marker,
    lost(KEYS[2], last, seen, mac) and '1' or '0'}
end
