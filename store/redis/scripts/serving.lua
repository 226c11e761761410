-- Who answers: whether it is a master, and the name of this process with this
-- data set. A master that is demoted and promoted keeps its run id and gets
-- another replication id; a slot that comes back to a node raises its epoch.
local function serving(set)
  local info = redis.call('INFO', 'server', 'replication', 'cluster')
  local function field(name) return string.match(info, '\n' .. name .. ':([^\r\n]*)') or '' end
  local epoch = ''
  if field('cluster_enabled') == '1' then
    epoch = string.match(redis.call('CLUSTER', 'INFO'), 'cluster_my_epoch:(%d+)') or ''
  end
  local name = field('run_id') .. ':' .. field('master_replid') .. ':' .. epoch .. ':'
  return field('role') == 'master', name .. (redis.call('GET', set) or '')
end

local function demoted() return redis.error_reply('READONLY served by a replica') end
