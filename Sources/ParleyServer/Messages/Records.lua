-- How the records in Redis read: for the functions that change them and those that show them to people.

local DAY = 86400000
local LEASE = 900000  -- a socket not heard of for so long went with its gateway, which speaks for it more often
local WORKER_LEASE = 10000  -- a worker not heard of for so long is gone, as its lanes are

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function split_id(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

-- Whether one id of a stream is below another.
local function is_before(one, other)
  local ms, sequence = split_id(one)
  local other_ms, other_sequence = split_id(other)
  return ms < other_ms or ms == other_ms and sequence < other_sequence
end

-- The highest id a stream ever had, '0-0' for none.
local function last_id(stream)
  local info = redis.pcall('XINFO', 'STREAM', stream)
  if info.err then return '0-0' end
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end

-- Head and first available position of a queue: (0, 1) when it never had an entry.
local function extent(queue_key)
  local info = redis.pcall('XINFO', 'STREAM', queue_key)
  if info.err then return '0', '1' end
  local head, first = '0', nil
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then head = string.sub(info[i + 1], 3) end
    if info[i] == 'first-entry' and info[i + 1] then first = string.sub(info[i + 1][1], 3) end
  end
  return head, first or string.format('%.0f', tonumber(head) + 1)
end

-- What stands beside a user's queue, in the same slot and under the same name.
local function beside(queue_key, kind) return kind .. string.sub(queue_key, 6) end

-- A user's devices. The field device:<name> of the user has
-- '<epoch> <q handled> <last heard of> <login> <session, - without a socket>'.
local function read_devices(user_key)
  local fields, devices = redis.call('HGETALL', user_key), {}
  for i = 1, #fields, 2 do
    local name = string.match(fields[i], '^device:(.*)$')
    if name then
      local epoch, q, seen, login, session = string.match(fields[i + 1], '^(%S+) (%d+) (%d+) (%S+) (%S+)$')
      if q then
        devices[name] = {epoch = epoch, q = tonumber(q), seen = tonumber(seen), login = login, session = session}
      end
    end
  end
  return devices
end

local function is_group(conv) return string.byte(conv) == 103 end

-- Whether a user may not write in a direct conversation, by its field closed (see relate).
local function is_closed(closed, user) return closed and (closed == user or closed == '*') end

local ENDED = '-'  -- in place of a lease's gateway: the session has ended

-- A user's presence as Presence.lua says: its fields, and the leases by device.
local function read_record(record_key)
  local all, record = redis.call('HGETALL', record_key), {leases = {}}
  for i = 1, #all, 2 do
    local device = string.match(all[i], '^lease:(.*)$')
    if device then
      local session, gateway, till = string.match(all[i + 1], '^(%S+) (%S+) (%d+)$')
      record.leases[device] = {session = session, gateway = gateway, till = tonumber(till)}
    else
      record[all[i]] = all[i + 1]
    end
  end
  return record
end
