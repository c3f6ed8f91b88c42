-- renew_gateway: keeps a gateway's entry under its lease, and tells of all gateways. KEYS the index, the gateway's entry.
-- ARGV name, instance, lease and uptime in milliseconds, then the entry's fields with their values.
-- Answers the instance that has the name; where that is the caller's, then each gateway: its name, its fields and values.
--
-- All entries stand on one server, the one for what may be lost: their keys are not declared. Times are this server's.
local function renew_gateway(KEYS, ARGV)
  local name, instance = ARGV[1], ARGV[2]
  local holder = redis.call('HGET', KEYS[2], 'instance')
  if holder and holder ~= instance then return { holder } end
  local started = redis.call('HGET', KEYS[2], 'started')
  if not started then
    local time = redis.call('TIME')
    started = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[4])
  end
  local answer, ended = { instance }, {}
  for _, other in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    if other ~= name then
      local entry = redis.pcall('HGETALL', 'gateway:' .. other)
      if entry.err or #entry == 0 then ended[#ended + 1] = other else answer[#answer + 1] = { other, unpack(entry) } end
    end
  end
  redis.call('HSET', KEYS[2], 'instance', instance, 'started', started, unpack(ARGV, 5))
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  redis.call('SADD', KEYS[1], name)
  for _, other in ipairs(ended) do redis.call('SREM', KEYS[1], other) end
  answer[#answer + 1] = { name, unpack(redis.call('HGETALL', KEYS[2])) }
  return answer
end

-- A Redis that is full still serves those who read.
redis.register_function{function_name = 'renew_gateway_@VERSION@', callback = renew_gateway, flags = {'allow-oom'}}

-- remove_gateway: ends a gateway's entry, unless the name is another's by now. KEYS and the first ARGV as above.
local function remove_gateway(KEYS, ARGV)
  if redis.call('HGET', KEYS[2], 'instance') ~= ARGV[2] then return 0 end
  redis.call('DEL', KEYS[2])
  return redis.call('SREM', KEYS[1], ARGV[1])
end

redis.register_function{function_name = 'remove_gateway_@VERSION@', callback = remove_gateway, flags = {'allow-oom'}}
