-- Sync queues: a stream for each user, whose ids are 0-<q>, and the places of the user's devices in it.

-- Whether none of a user's devices was heard of for so many milliseconds, and nobody listens. Of a user without
-- devices, perhaps a reader, it counts from the field since: when this was first asked, or they last came back.
local function is_absent(queue_key, patience)
  local user_key, now = beside(queue_key, 'user'), now_ms()
  local seen = tonumber(redis.call('HGET', user_key, 'since') or 0)
  for _, device in pairs(read_devices(user_key)) do seen = math.max(seen, device.seen) end
  if seen == 0 then redis.pcall('HSET', user_key, 'since', string.format('%.0f', now)) end
  return seen > 0 and now - seen >= patience
    and redis.call('PUBSUB', 'NUMSUB', 'user:' .. string.match(queue_key, '[^:]*$'))[2] == 0
end

local BOUND_PAUSE = 32  -- entries between two looks at a queue's bounds: each time would cost as much as the entry

-- Bounds what a queue holds. Limits are '<entries at most> <milliseconds>': after so long without anybody the user is
-- absent, and the queue gives way to the user's field absent, its position. Without the second that is not looked at.
local function keep_bounds(queue_key, q, limits)
  local cap, patience = string.match(limits, '^(%d+) ?(%d*)$')
  if patience ~= '' and is_absent(queue_key, tonumber(patience)) then
    if redis.pcall('HSET', beside(queue_key, 'user'), 'absent', q) == 1 then redis.pcall('UNLINK', queue_key) end
  else
    redis.pcall('XTRIM', queue_key, 'MAXLEN', '~', cap)
  end
end

-- Appends to a queue. Returns the entry's position; nil for an absent user, of whose queue the position alone goes on;
-- or nil and an error table.
local function append_to_queue(queue_key, event, limits)
  local id = redis.pcall('XADD', queue_key, 'NOMKSTREAM', '0-*', 'e', event)
  if not id then
    local user_key = beside(queue_key, 'user')
    if redis.pcall('HEXISTS', user_key, 'absent') == 1 then
      local q = redis.pcall('HINCRBY', user_key, 'absent', 1)
      return nil, type(q) == 'table' and q or nil
    end
    id = redis.pcall('XADD', queue_key, '0-*', 'e', event)
  end
  if type(id) ~= 'string' then return nil, id end
  local q = string.sub(id, 3)
  -- Nothing that is wrong with one user may keep an event from the others.
  if tonumber(q) % BOUND_PAUSE == 0 then pcall(keep_bounds, queue_key, q, limits) end
  return q
end

-- Somebody is there: a queue that had given way goes on, empty, where its position is by now. Of readers who keep no
-- place nothing else says that they were there.
local function reopen(queue_key)
  local user_key, now = beside(queue_key, 'user'), now_ms()
  local have = redis.call('HMGET', user_key, 'absent', 'since')
  local q, since = have[1], tonumber(have[2])
  if since and now - since > 3600000 then redis.call('HSET', user_key, 'since', string.format('%.0f', now)) end
  if not q then return end
  redis.call('XADD', queue_key, '0-' .. q, 'e', '')
  redis.call('XDEL', queue_key, '0-' .. q)
  redis.call('HDEL', user_key, 'absent')
  redis.call('HSET', user_key, 'since', string.format('%.0f', now))
end

-- Wakes the gateways that hold the user's sessions.
local function wake(user, epoch, q, event) redis.call('PUBLISH', 'user:' .. user, epoch .. ' ' .. q .. ' ' .. event) end

-- Appends to a queue and wakes its readers. Returns an error table or nil, and the position.
local function enqueue(queue_key, user, epoch, event, limits)
  local q, failure = append_to_queue(queue_key, event, limits)
  if not q then return failure end
  wake(user, epoch, q, event)
  return nil, q
end

-- Appends to the queue of whoever caused the event. Readers at the gateway that called, and nowhere else, need not be
-- woken: it has the event, and the position is returned for it. Returns an error table or nil, and that position.
local function enqueue_own(queue_key, user, epoch, event, limits, is_here)
  local q, failure = append_to_queue(queue_key, event, limits)
  if not q then return failure end
  if is_here and redis.call('PUBSUB', 'NUMSUB', 'user:' .. user)[2] == 1 then return nil, q end
  wake(user, epoch, q, event)
end

-- Where an event went: user and position, by turns; the users that are absent; and everybody's queue.
local function no_places() return {absent = {}, keys = {}} end

-- Appends to one of many queues whose readers are woken together, and notes it in `places`. Returns an error table or nil.
local function enqueue_among(places, queue_key, user, event, limits)
  local q, failure = append_to_queue(queue_key, event, limits)
  if failure then return failure end
  places.keys[user] = queue_key
  if q then
    places[#places + 1] = user
    places[#places + 1] = q
  else
    places.absent[#places.absent + 1] = user
  end
end

local FEW = 8  -- users who are woken by name in any case

-- Wakes the readers of all places that an event took. Every event loop of the gateways listens to 'groups' and looks
-- for its own users among those named: dearer than to be woken for one of them by name, cheaper than for four.
local function wake_all(places, epoch, event)
  local users = #places / 2
  if users > FEW and users >= 4 * redis.call('PUBSUB', 'NUMSUB', 'groups')[2] then
    redis.call('PUBLISH', 'groups', epoch .. ' ' .. table.concat(places, ',') .. ' ' .. event)
  else
    for i = 1, #places, 2 do wake(places[i], epoch, places[i + 1], event) end
  end
end
