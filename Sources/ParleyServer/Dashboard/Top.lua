-- The functions for people about a whole deployment. Their names carry no version: they are typed by hand.

local WORST = 5     -- lanes that parley_top names
local SAMPLE = 100  -- keys that it looks at to tell of queues

local function read_info()
  local info = {}
  for name, value in string.gmatch(redis.call('INFO', 'server', 'clients', 'memory', 'stats', 'persistence'),
    '([%w_]+):([^\r\n]*)') do
    info[name] = value
  end
  return info
end

local function add_redis(lines, info, now)
  local used, limit = tonumber(info.used_memory), tonumber(info.maxmemory)
  add(lines, 'redis', string.format(
    '%s%s, %s, %s commands/s, %s evicted, append-only file %s, up %s', size(used),
    limit > 0 and string.format(' of %s (%s)', size(limit), percent(used / limit)) or ' without a limit',
    plural(tonumber(info.connected_clients), 'client', 'clients'), count(tonumber(info.instantaneous_ops_per_sec)),
    count(tonumber(info.evicted_keys)),
    info.aof_enabled ~= '1' and 'off' or info.aof_rewrite_in_progress == '1' and 'being rewritten' or 'on',
    duration(1000 * tonumber(info.uptime_in_seconds))))
  local problems = {}
  if info.aof_enabled ~= '1' then
    problems[#problems + 1] = 'no append-only file: a crash loses acknowledged messages'
  elseif info.aof_last_write_status ~= 'ok' then
    problems[#problems + 1] = 'the append-only file cannot be written: sends are refused'
  end
  if limit > 0 and used > 0.9 * limit then problems[#problems + 1] = 'memory is nearly full: sends will be refused' end
  if info.maxmemory_policy ~= 'noeviction' then
    problems[#problems + 1] = 'maxmemory-policy is ' .. info.maxmemory_policy .. ': Redis may drop messages'
  end
  for _, problem in ipairs(problems) do lines[#lines + 1] = '  ' .. PROBLEM .. problem end
end

local function add_epoch(lines, now)
  local epoch = redis.call('HMGET', 'epoch', 'id', 'since')
  local since = tonumber(epoch[2] or 0)
  add(lines, 'epoch', not epoch[1] and PROBLEM .. 'none: nothing is sent until a gateway makes one'
    or epoch[1] .. (since > 0 and ', data was lost ' .. duration(now - since) .. ' ago' or ', nothing was ever lost'))
end

-- Queues as a sample of the keys has them.
local function add_queues(lines)
  local keys, found, longest, whose = redis.call('DBSIZE'), 0, -1, nil
  for _ = 1, keys > 0 and SAMPLE or 0 do
    local key = redis.call('RANDOMKEY')
    if key and string.sub(key, 1, 6) == 'queue:' then
      found = found + 1
      local length = redis.pcall('XLEN', key)
      if type(length) == 'number' and length > longest then longest, whose = length, key end
    end
  end
  add(lines, 'queues', found == 0 and 'none among ' .. plural(keys, 'key', 'keys') .. ' as far as sampled'
    or string.format('about %s of %s; the longest of %d looked at has %s, %s', percent(found / SAMPLE),
      plural(keys, 'key', 'keys'), found, plural(math.max(longest, 0), 'entry', 'entries'), whose or '-'))
end

local OUTBOXES = {'of groups', 'of who may write', "of friends' events"}

-- What began in PostgreSQL and waits for Redis, and what could not be archived: as the workers last counted.
local function add_outboxes(lines, workers)
  local known
  for _, worker in ipairs(workers) do
    if worker.outboxes and worker.age < WORKER_LEASE then known = worker end
  end
  if not known then
    add(lines, 'outboxes', 'not known: no worker that reaches PostgreSQL')
    return
  end
  local parts = {}
  for number in string.gmatch(known.outboxes, '%d+') do
    parts[#parts + 1] = count(tonumber(number)) .. ' ' .. OUTBOXES[#parts + 1]
  end
  local dead = tonumber(known.dead or 0)
  add(lines, 'outboxes', table.concat(parts, ', ') .. ', older than 3 s')
  if dead > 0 then
    local entries = plural(dead, 'entry', 'entries')
    lines[#lines + 1] = '  ' .. PROBLEM .. entries .. ' could not be archived: see dead_letters'
  end
end

-- Lists of suggestions, and the searches that they are made of: as a worker for them last saw them.
local function add_suggestions(lines, workers)
  local known
  for _, worker in ipairs(workers) do
    if worker.suggest and worker.age < WORKER_LEASE then known = worker.suggest end
  end
  if not known then return end
  local lists, keys, age, searches, failing = string.match(known, '^(%d+),(%d+),(%d+),(%d+),(%d)$')
  if not lists then return end
  lists, searches = tonumber(lists), tonumber(searches)
  add(lines, 'typeahead', string.format('%s; %s kept', lists == 0 and 'no list'
    or string.format('%s of %s, the newest in force for %s', plural(lists, 'list', 'lists'),
      plural(tonumber(keys), 'key', 'keys'), duration(tonumber(age))),
    plural(searches, 'search', 'searches')))
  if searches > 50000 then lines[#lines + 1] = '  ' .. PROBLEM .. 'searches are not counted: the oldest will be lost' end
  if failing == '1' then
    lines[#lines + 1] = '  ' .. PROBLEM .. 'the last build of lists was no good: parley typeahead status'
  end
end

-- What is to be pushed; nothing of it where nobody has registered a device.
local function add_push(lines, now)
  local users, waiting = redis.call('SCARD', 'push:users'), redis.call('XLEN', 'push')
  local retries, dead = redis.call('ZCARD', 'push:retries'), redis.call('XLEN', 'push:dead')
  if users + waiting + dead == 0 then return end
  local oldest = redis.call('XRANGE', 'push', '-', '+', 'COUNT', 1)[1]
  local age = oldest and now - tonumber(string.match(oldest[1], '^%d+'))
  add(lines, 'push', string.format('%s with a device, %s waiting%s, %s to be tried again',
    plural(users, 'user', 'users'), count(waiting), age and ', the oldest for ' .. duration(age) or '', count(retries)))
  if age and age > 60000 then
    lines[#lines + 1] = '  ' .. PROBLEM .. 'push is behind: is there a worker of the role push?'
  end
  if dead > 0 then
    lines[#lines + 1] = '  ' .. PROBLEM .. plural(dead, 'push was', 'pushes were') .. ' given up: see parley push dead'
  end
end

-- parley_top: everything on one screen.
redis.register_function{
  function_name = 'parley_top',
  description = 'The whole deployment on one screen: FCALL_RO parley_top 0',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV)
    if #KEYS + #ARGV > 0 then return redis.error_reply('ERR parley_top takes nothing: FCALL_RO parley_top 0') end
    local now, lines = now_ms(), {}
    local gateways, workers, lanes = read_gateways(), read_workers(now), read_lanes()
    if #gateways > 0 and redis.call('EXISTS', 'epoch') == 0 then
      -- A gateway is in the registry after it made an epoch where its messages are.
      add(lines, 'redis', 'of presence, limits and the registry; messages are on another one: ask parley_top there')
      add_gateways(lines, gateways, workers, now)
      return answer(lines)
    end
    add_epoch(lines, now)
    add_redis(lines, read_info(), now)
    add_gateways(lines, gateways, workers, now)
    add_workers(lines, workers)
    add_lane_total(lines, lanes, workers, now)
    table.sort(lanes, function(one, other)
      if (one.oldest or now) ~= (other.oldest or now) then return (one.oldest or now) < (other.oldest or now) end
      return one.number < other.number
    end)
    local worst = {}
    for _, lane in ipairs(lanes) do
      if #worst < WORST and lane.unarchived > 0 then worst[#worst + 1] = lane end
    end
    if #worst > 0 then add_lanes(lines, worst, lane_holders(workers), now) end
    local total = total_of(lanes)
    add(lines, 'fan-outs', total.marks == 0 and 'none is owed'
      or count(total.marks) .. ' owed, the oldest for ' .. duration(now - total.owed_since))
    add_outboxes(lines, workers)
    add_suggestions(lines, workers)
    add_push(lines, now)
    add_queues(lines)
    return answer(lines)
  end,
}

redis.register_function{
  function_name = 'parley_gateways',
  description = 'The gateways of the registry: FCALL_RO parley_gateways 0',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV)
    local now, lines, gateways = now_ms(), {}, read_gateways()
    add_gateways(lines, gateways, read_workers(now), now)
    return answer(lines)
  end,
}

redis.register_function{
  function_name = 'parley_lanes',
  description = 'Every lane that holds something: FCALL_RO parley_lanes 0',
  flags = {'no-writes'},
  callback = function()
    local now, lines, lanes = now_ms(), {}, read_lanes()
    local workers = read_workers(now)
    add_lane_total(lines, lanes, workers, now)
    if #lanes > 0 then add_lanes(lines, lanes, lane_holders(workers), now) end
    return answer(lines)
  end,
}
