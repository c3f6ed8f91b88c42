-- The functions for people about one user and one conversation.

-- Folded FNV-1a of 64 bits in two halves, as ParleyCore's stableHash; modulo a power of two.
local function stable_hash(text, modulus)
  local high, low = 0xcbf29ce4, 0x84222325
  for i = 1, #text do
    low = bit.bxor(low, string.byte(text, i)) % 4294967296
    local product = low * 435  -- the prime is 2^40 + 435
    high = (high * 435 + math.floor(product / 4294967296) + low * 256) % 4294967296
    low = product % 4294967296
  end
  return bit.bxor(low, high) % modulus
end

local function user_tag(user) return '{U' .. stable_hash(user, USER_SHARDS) .. '}' end
local function lane_number(conv) return stable_hash(conv, LANES) end

local function is_user_id(text) return #text <= 64 and string.match(text, '^[a-z0-9]+$') ~= nil end

local function is_conversation_id(text)
  local lo, hi = string.match(text, '^d:(%w+):(%w+)$')
  if lo then return is_user_id(lo) and is_user_id(hi) and lo < hi end
  return is_user_id(string.match(text, '^g:(%w+)$') or '!')
end

-- Since when the entry after a position of a queue waits, in milliseconds since 1970.
local function waits_since(queue_key, q)
  local entry = redis.call('XRANGE', queue_key, string.format('(0-%.0f', q), '+', 'COUNT', 1)[1]
  return entry and tonumber(string.match(entry[2][2], '"ts":(%d+)'))
end

local SLUGGISH = 10000  -- so long a device that is there may leave an entry unacknowledged before that is said

-- Appends a user's devices, with what is wrong with each to `problems`.
local function add_devices(lines, problems, user, epoch, queue, devices, leases, now)
  local names, is_listed = {}, {}
  for _, list in ipairs{devices, leases} do
    for name in pairs(list) do
      if not is_listed[name] then names[#names + 1] = name end
      is_listed[name] = true
    end
  end
  table.sort(names)
  local here, rows = redis.call('EXISTS', 'gateways') == 1, {}
  for i, name in ipairs(names) do
    local device, lease = devices[name], leases[name]
    local is_current = device and device.epoch == epoch
    local lag, since = is_current and not queue.is_damaged and math.max(queue.head - device.q, 0), nil
    local is_trimmed = lag and device.q < queue.first - 1
    if lag and lag > 0 then since = waits_since(queue.key, device.q) end
    local is_there = lease and lease.till > now and lease.gateway ~= ENDED
    -- A lease names the event loop too: gateway-2.x4qe.
    local gateway = is_there and (string.match(lease.gateway, '^(.+)%.[^.]*$') or lease.gateway)
    rows[i] = {
      name, is_current and count(device.q) or device and 'of ' .. device.epoch or '-', count(lag or nil),
      duration(since and now - since), duration(device and now - device.seen), gateway or '-',
      lease and (lease.till > now and duration(lease.till - now) or 'ended') or '-',
      device and device.session ~= ENDED and device.session or '-', device and device.login or '-',
    }
    local function problem(text) problems[#problems + 1] = name .. ': ' .. text end
    if device and not is_current then
      problem('its place is of another epoch; it gets a resync when it comes')
    elseif is_trimmed then
      problem(string.format('the queue was trimmed above its place, %s gone; it gets a resync when it comes',
        plural(queue.first - 1 - device.q, 'entry is', 'entries are')))
    end
    if is_there and here and redis.call('EXISTS', 'gateway:' .. gateway) == 0 then
      problem(gateway .. ' is not in the registry: killed, or cut off; the lease ends in '
        .. duration(lease.till - now))
    elseif since and is_there and not is_trimmed and now - since > SLUGGISH then
      problem('it is there and does not acknowledge; its client hangs, or reads slowly')
    end
  end
  if #rows > 0 then
    add_table(lines, {
      'device', '>place', '>lacks', '>for', '>heard', 'gateway', '>lease', 'socket', 'sign-in',
    }, rows)
  end
end

local function read_queue(tag, user)
  local key = 'queue:' .. tag .. ':' .. user
  local head, first = extent(key)
  local queue = {key = key, head = tonumber(head), first = tonumber(first), length = redis.pcall('XLEN', key)}
  if type(queue.length) == 'table' then queue.length, queue.is_damaged = 0, true end
  local absent = redis.call('HGET', 'user:' .. tag .. ':' .. user, 'absent')
  if absent then queue.absent, queue.head, queue.first = true, tonumber(absent), tonumber(absent) + 1 end
  return queue
end

local function describe(queue)
  if queue.absent then return 'nothing is kept, the position is ' .. count(queue.head) end
  if queue.is_damaged then return 'a ' .. redis.call('TYPE', queue.key).ok .. ' where a stream should be' end
  if queue.head == 0 then return 'nothing was ever sent to them' end
  if queue.length == 0 then return 'empty, the position is ' .. count(queue.head) end
  return string.format('%s, %s, positions %s to %s', plural(queue.length, 'entry', 'entries'),
    size(redis.call('MEMORY', 'USAGE', queue.key)), count(queue.first), count(queue.head))
end

local function describe_presence(record, now)
  if not record.privacy then return 'not known' end
  local active, version, last_seen, sight = tonumber(record.active), string.match(record.privacy, '^(%d+) (%S+) (%S+)$')
  return string.format('%s since %s, last active %s, last seen by %s, %s (settings version %s)',
    record.state or 'offline', duration(record.v and now - tonumber(record.v)),
    active and duration(now - active) .. ' ago' or 'never', last_seen or '-', sight or '-', version or '-')
end

redis.register_function{
  function_name = 'parley_user',
  description = 'Where a user is, and why they get nothing: FCALL_RO parley_user 0 <user>',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV)
    local user, failure = argument(KEYS, ARGV, 'parley_user', 'qznhhbe5sep8', is_user_id)
    if not user then return failure end
    local now, tag, lines, problems = now_ms(), user_tag(user), {}, {}
    local epoch = redis.call('HGET', 'epoch', 'id') or '-'
    local queue, devices = read_queue(tag, user), read_devices('user:' .. tag .. ':' .. user)
    local record = read_record('presence:' .. tag .. ':' .. user)
    local listeners = redis.call('PUBSUB', 'NUMSUB', 'user:' .. user)[2]
    add(lines, 'user', user .. ' ' .. tag .. ', epoch ' .. epoch)
    add(lines, 'queue', describe(queue))
    add(lines, 'listening', listeners == 0 and 'nobody' or plural(listeners, 'event loop', 'event loops'))
    add(lines, 'presence', describe_presence(record, now))
    if epoch == '-' then problems[1] = 'Redis has no epoch: nothing is sent until a gateway makes one' end
    if queue.absent then
      problems[#problems + 1] = 'absent: no device was there for so long that nothing is kept; the next gets a resync'
    elseif queue.head == 0 and not next(devices) and not record.privacy then
      problems[#problems + 1] = 'Redis knows nothing of this user'
    end
    if queue.is_damaged then problems[#problems + 1] = queue.key .. ' takes nothing: what is sent stays owed' end
    if listeners == 0 then problems[#problems + 1] = 'no gateway has a socket or a waiting poll of theirs' end
    add_devices(lines, problems, user, epoch, queue, devices, record.leases, now)
    for _, problem in ipairs(problems) do lines[#lines + 1] = PROBLEM .. problem end
    return answer(lines)
  end,
}

local MEMBERS = 50  -- of a group, that are listed

local function members_of(conv, key)
  local lo, hi = string.match(conv, '^d:(%w+):(%w+)$')
  if lo then return {{user = lo, joined = 0}, {user = hi, joined = 0}} end
  local fields, members = redis.call('HGETALL', key), {}
  for i = 1, #fields, 2 do
    members[#members + 1] = {user = fields[i], joined = tonumber(string.match(fields[i + 1], '^%d+'))}
  end
  table.sort(members, function(one, other)
    if one.joined ~= other.joined then return one.joined < other.joined end
    return one.user < other.user
  end)
  return members
end

local function add_members(lines, members, conversation)
  local rows = {}
  for i = 1, math.min(#members, MEMBERS) do
    local user, last = members[i].user, tonumber(conversation.seq or 0)
    local read = tonumber(conversation['read:' .. user] or 0)
    local delivered = math.max(read, tonumber(conversation['delivered:' .. user] or 0))
    local unread = last - math.max(read, members[i].joined)
    rows[i] = {user, count(members[i].joined), count(read), count(delivered), count(unread)}
  end
  add(lines, 'members', count(#members) .. (#members > MEMBERS and ', of whom the first ' .. MEMBERS or ''))
  if #rows > 0 then add_table(lines, {'user', '>joined at', '>read', '>delivered', '>unread'}, rows) end
end

redis.register_function{
  function_name = 'parley_conversation',
  description = 'A conversation, its members and what it owes: FCALL_RO parley_conversation 0 <conversation>',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV)
    local conv, failure = argument(KEYS, ARGV, 'parley_conversation', 'g:2r9kxw4m7c3t', is_conversation_id)
    if not conv then return failure end
    local now, lines, number = now_ms(), {}, lane_number(conv)
    local tag = '{L' .. number .. '}'
    local function key(kind) return kind .. ':' .. tag .. ':' .. conv end
    local fields, c = redis.call('HGETALL', key('conv')), {}
    for i = 1, #fields, 2 do c[fields[i]] = fields[i + 1] end
    add(lines, 'conv', conv .. ' ' .. tag)
    if not c.mv then
      lines[#lines + 1] = PROBLEM .. 'Redis does not know it yet; the next send makes it known, if history does'
      return answer(lines)
    end
    local epoch = redis.call('HGET', 'epoch', 'id')
    add(lines, 'last', 'seq ' .. count(tonumber(c.seq or 0)) .. ', membership version ' .. c.mv
      .. (c.epoch == epoch and '' or ', not used yet since Redis lost data'))
    if c.closed then
      add(lines, 'closed', c.closed == '*' and 'neither may write' or c.closed .. ' may not write')
    end
    add_members(lines, members_of(conv, key('members')), c)
    local chunks, owed = redis.call('LLEN', key('chunks')), redis.call('SCARD', key('owed'))
    local pending = tonumber(c.pending or 0)
    add(lines, 'fan-out', pending == 0 and 'nothing is owed'
      or string.format('%s owed, %s wait, %s whose queue refused', plural(pending, 'part', 'parts'),
        plural(chunks, 'chunk', 'chunks'), plural(owed, 'member', 'members')))
    local lane = read_lane(number)
    local row = lane or {number = number, kept = 0, marks = 0, unarchived = 0}
    add_lanes(lines, {row}, lane_holders(read_workers(now)), now)
    if pending > 0 and lane and lane.owed_since and now - lane.owed_since > SLUGGISH then
      lines[#lines + 1] = PROBLEM .. 'a fan-out of this lane has waited for ' .. duration(now - lane.owed_since)
        .. ': does a worker hold it?'
    end
    return answer(lines)
  end,
}
