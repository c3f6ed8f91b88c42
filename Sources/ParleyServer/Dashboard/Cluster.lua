-- What runs, and what waits: the processes that keep themselves in a registry, and the lanes. To read it all takes
-- longer with more gateways, workers and lanes, not with more users. Where keys are spread over several servers (Redis
-- Cluster), each shows its own.

-- Words of the form name=value; the last one takes the rest of the line.
local function read_words(text)
  local words = {}
  local rest = string.gsub(text, ' problem=(.*)$', function(problem)
    words.problem = problem
    return ''
  end)
  for name, value in string.gmatch(rest, '(%w+)=(%S+)') do words[name] = value end
  return words
end

-- Workers by name, as worker_here wrote them.
local function read_workers(now)
  local fields, workers = redis.call('HGETALL', 'workers'), {}
  for i = 1, #fields, 2 do
    local seen, text = string.match(fields[i + 1], '^(%d+) ?(.*)$')
    local worker = read_words(text or '')
    worker.name, worker.age = fields[i], now - tonumber(seen or 0)
    worker.lanes = worker.lanes ~= '-' and worker.lanes or ''
    workers[#workers + 1] = worker
  end
  table.sort(workers, function(one, other) return one.name < other.name end)
  return workers
end

-- Who holds each lane, by its number, as far as they are there.
local function lane_holders(workers)
  local holders = {}
  for _, worker in ipairs(workers) do
    if worker.age < WORKER_LEASE then
      for first, last in string.gmatch(worker.lanes, '(%d+)%-?(%d*)') do
        for lane = tonumber(first), tonumber(last) or tonumber(first) do holders[lane] = worker.name end
      end
    end
  end
  return holders
end

-- What a lane holds: entries kept, of which some are not archived (at most so many, where entries are kept that are),
-- since when the oldest of these waits, and marks of fan-outs. nil for a lane with nothing.
local function read_lane(number)
  local tag = '{L' .. number .. '}'
  local key = 'lane:' .. tag
  local kept = redis.call('XLEN', key)
  -- What has a mark is not trimmed.
  if kept == 0 then return nil end
  local lane = {number = number, kept = kept, marks = redis.call('ZCARD', 'pending:' .. tag), unarchived = 0}
  local archived, oldest = redis.call('GET', 'archived:' .. tag), redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  if archived and not is_before(archived, oldest[1]) then
    lane.at_most, oldest = true, redis.call('XRANGE', key, '(' .. archived, '+', 'COUNT', 1)[1]
  end
  if oldest then lane.oldest, lane.unarchived = split_id(oldest[1]), kept end
  if lane.marks > 0 then
    lane.owed_since = tonumber(redis.call('ZRANGE', 'pending:' .. tag, 0, 0, 'WITHSCORES')[2])
  end
  return lane
end

local function read_lanes()
  local lanes = {}
  for number = 0, LANES - 1 do lanes[#lanes + 1] = read_lane(number) end
  return lanes
end

-- Lanes together, as one.
local function total_of(lanes)
  local total = {kept = 0, marks = 0, unarchived = 0}
  for _, lane in ipairs(lanes) do
    for _, field in ipairs{'kept', 'marks', 'unarchived'} do total[field] = total[field] + lane[field] end
    for _, field in ipairs{'oldest', 'owed_since'} do
      if lane[field] then total[field] = math.min(total[field] or math.huge, lane[field]) end
    end
    total.at_most = total.at_most or lane.at_most and lane.oldest
  end
  return total
end

local function unarchived(lane) return (lane.at_most and 'at most ' or '') .. count(lane.unarchived) end

local function add_lanes(lines, lanes, holders, now)
  local rows = {}
  for i, lane in ipairs(lanes) do
    rows[i] = {
      'L' .. lane.number, unarchived(lane), duration(lane.oldest and now - lane.oldest), count(lane.kept),
      count(lane.marks), holders[lane.number] or '-',
    }
  end
  add_table(lines, {'lane', '>not archived', '>oldest', '>kept', '>fan-outs owed', 'worker'}, rows)
end

-- Gateways of the registry, in order of their names: the fields of gateway:<name>.
local function read_gateways()
  local gateways = {}
  for _, name in ipairs(redis.call('SMEMBERS', 'gateways')) do
    local fields = redis.pcall('HGETALL', 'gateway:' .. name)
    if not fields.err and #fields > 0 then
      local gateway = {name = name}
      for i = 1, #fields, 2 do gateway[fields[i]] = fields[i + 1] end
      gateways[#gateways + 1] = gateway
    end
  end
  table.sort(gateways, function(one, other) return one.name < other.name end)
  return gateways
end

local function add_gateways(lines, gateways, workers, now)
  if #gateways == 0 then
    local elsewhere
    for _, worker in ipairs(workers) do elsewhere = elsewhere or worker.registry end
    add(lines, 'gateways', elsewhere and 'in the registry on ' .. elsewhere .. ': ask parley_gateways there'
      or PROBLEM .. 'none')
    return
  end
  local rows, sessions, capacity = {}, 0, 0
  for i, gateway in ipairs(gateways) do
    local has, room = tonumber(gateway.sessions), tonumber(gateway.capacity)
    local lag, cpu, started = tonumber(gateway.lag_us), tonumber(gateway.cpu_pct), tonumber(gateway.started)
    local state = not gateway.url and 'starting' or gateway.draining == '1' and 'draining' or 'serving'
    sessions, capacity = sessions + (has or 0), capacity + (room or 0)
    rows[i] = {
      gateway.name, gateway.zone ~= '' and gateway.zone or '-', count(has), count(room),
      percent(has and room and room > 0 and has / room), lag and string.format('%.1f ms', lag / 1000) or '-',
      cpu and string.format('%.0f %%', cpu) or '-', count(tonumber(gateway.sends_s)),
      count(tonumber(gateway.delivered_s)), state, duration(started and now - started), gateway.url or '-',
    }
  end
  add(lines, 'gateways', string.format('%s, %s of %s', count(#gateways), plural(sessions, 'session', 'sessions'),
    count(capacity)))
  add_table(lines, {
    'name', 'zone', '>sessions', '>capacity', '>load', '>loop lag', '>CPU', '>sends/s', '>deliveries/s', 'state', '>up',
    'url',
  }, rows)
end

local function add_workers(lines, workers)
  local alive, rows, problems = 0, {}, {}
  for i, worker in ipairs(workers) do
    local is_alive, lanes = worker.age < WORKER_LEASE, 0
    for _ in pairs(lane_holders{worker}) do lanes = lanes + 1 end
    alive = alive + (is_alive and 1 or 0)
    local round = tonumber(worker.round)
    rows[i] = {
      worker.name, worker.roles or '-', count(lanes), duration(worker.age), duration(round and round + worker.age),
      is_alive and 'working' or 'gone',
    }
    if is_alive and worker.problem then problems[#problems + 1] = worker.name .. ': ' .. worker.problem end
  end
  add(lines, 'workers', alive > 0 and count(alive) or PROBLEM .. 'none: nothing is archived, and no fan-out finished')
  if #rows > 0 then add_table(lines, {'name', 'roles', '>lanes', '>heard', '>archived', 'state'}, rows) end
  for _, problem in ipairs(problems) do lines[#lines + 1] = '  ' .. PROBLEM .. problem end
end

local function add_lane_total(lines, lanes, workers, now)
  local total, held = total_of(lanes), 0
  for _ in pairs(lane_holders(workers)) do held = held + 1 end
  local text = total.unarchived == 0 and 'everything is archived'
    or unarchived(total) .. ' not archived, the oldest for ' .. duration(now - total.oldest)
  add(lines, 'lanes', string.format('%s; %s kept in Redis', text, count(total.kept)))
  if held < LANES then
    lines[#lines + 1] = '  ' .. PROBLEM .. plural(LANES - held, 'lane has', 'lanes have') .. ' no worker'
  end
end
