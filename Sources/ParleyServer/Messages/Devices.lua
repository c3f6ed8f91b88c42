-- A user's devices: how they come, acknowledge and go.

local FORGOTTEN = 30 * DAY  -- a device not heard of for so long holds the queue no more
local AWAY = DAY            -- one not heard of for so long makes room for another

local function write_device(user_key, devices, name, epoch, q, login, session)
  local now = now_ms()
  redis.call('HSET', user_key, 'device:' .. name, string.format('%s %.0f %.0f %s %s', epoch, q, now, login, session))
  devices[name] = {epoch = epoch, q = q, seen = now, login = login, session = session}
end

-- Whether one more device may have a place. Where the limit is reached, the one not heard of for longest gives up its
-- own, if it has been away for long.
local function has_room(user_key, devices, limit)
  local count, oldest = 0, nil
  for name, device in pairs(devices) do
    count = count + 1
    if not oldest or device.seen < devices[oldest].seen then oldest = name end
  end
  if count < limit then return true end
  if now_ms() - devices[oldest].seen < AWAY then return false end
  redis.call('HDEL', user_key, 'device:' .. oldest)
  return true
end

-- Trims a queue to the slowest device heard of in 30 days, and forgets the others; without any device nothing goes.
-- Returns how many entries went.
local function trim_queue(queue_key, user_key, devices, epoch)
  local now, slowest = now_ms(), nil
  for name, device in pairs(devices) do
    if now - device.seen > FORGOTTEN then
      redis.call('HDEL', user_key, 'device:' .. name)
    else
      -- One of another epoch holds everything until it comes back.
      slowest = math.min(slowest or math.huge, device.epoch == epoch and device.q or 0)
    end
  end
  if not slowest then return 0 end
  return redis.call('XTRIM', queue_key, 'MINID', string.format('0-%.0f', slowest + 1))
end

-- ack: a session's device has handled everything up to q, or its socket is still there, or has ended. Of a device that
-- was signed out meanwhile it says nothing.
-- KEYS epoch, queue, user. ARGV epoch, device, q (never beyond what was written to the device; 0 for nothing new),
-- session, '1' if that has ended. Answers how many entries went.
redis.register_function{
  function_name = 'ack_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    local epoch, devices = redis.call('HGET', KEYS[1], 'id'), read_devices(KEYS[3])
    local device = devices[ARGV[2]]
    if epoch ~= ARGV[1] or not device then return 0 end
    local handled, session = tonumber(ARGV[3]), device.session
    local q = device.epoch == epoch and math.max(handled, device.q) or handled
    if ARGV[5] == '1' and session == ARGV[4] then session = '-' end
    write_device(KEYS[3], devices, ARGV[2], epoch, q, device.login, session)
    -- One that acknowledged nothing may still come back with an older cursor than where its session began.
    return handled > 0 and trim_queue(KEYS[2], KEYS[3], devices, epoch) or 0
  end,
}

-- devices: KEYS user. Answers name, login, last heard of and '1' with a socket, of each.
redis.register_function{
  function_name = 'devices_@VERSION@',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV)
    local now, result = now_ms(), {}
    for name, device in pairs(read_devices(KEYS[1])) do
      local connected = device.session ~= '-' and now - device.seen < LEASE
      for _, part in ipairs{name, device.login, string.format('%.0f', device.seen), connected and '1' or '0'} do
        result[#result + 1] = part
      end
    end
    return result
  end,
}

-- revoke: ends a login: nobody attaches with it, its sockets close, its devices hold the queue no more.
-- KEYS epoch, queue, user, revoked login. ARGV user, login, seconds to remember it for.
redis.register_function{
  function_name = 'revoke_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    redis.call('SET', KEYS[4], '1', 'EX', ARGV[3])
    redis.call('PUBLISH', 'user:' .. ARGV[1], '!revoked ' .. ARGV[2])
    local devices = read_devices(KEYS[3])
    for name, device in pairs(devices) do
      if device.login == ARGV[2] then
        redis.call('HDEL', KEYS[3], 'device:' .. name)
        devices[name] = nil
      end
    end
    local epoch = redis.call('HGET', KEYS[1], 'id')
    if epoch then trim_queue(KEYS[2], KEYS[3], devices, epoch) end
  end,
}
