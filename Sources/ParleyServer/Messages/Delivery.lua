-- Finishing a fan-out that the commit could not: recipients in another slot, or whose queue refused the write.
-- Whoever finishes works through the marks of one (conversation, user) from the oldest on, each step can be
-- repeated, and `send` leaves a conversation's recipients pending while it has marks: so order holds without locks.
-- A group's co-located recipients wait in chunks instead: a list of '<part> <place> <user,user…>', delivered from its
-- front, each chunk by one call.

-- The event of a place in a lane, as the others and as its sender get it, and the sender; nil when it is gone.
local function event_at(lane_key, lane_number, ms, sequence)
  local id = string.format('%.0f-%.0f', ms, sequence)
  local found = redis.call('XRANGE', lane_key, id, id)[1]
  if not found then return nil end
  local mid, entry = message_id(ms, tonumber(lane_number), sequence), found[2][2]
  -- The cid is the sender's alone.
  local others = string.gsub(entry, ',"cid":"[^"]*"}$', '}')
  return with_id(others, mid, ms, sequence), with_id(entry, mid, ms, sequence), string.match(entry, '"from":"([^"]*)"')
end

-- Marks of one user of one conversation, oldest first.
local function marks_of(pending_key, conv, user)
  local prefix, result = conv .. ' ' .. user .. ' ', {}
  for _, member in ipairs(redis.call('ZRANGE', pending_key, 0, -1)) do
    if string.sub(member, 1, #prefix) == prefix then result[#result + 1] = member end
  end
  return result
end

-- pending: the oldest marks of a lane. KEYS pending. ARGV limit. Answers '<conv> <user> <ms>-<sequence>' each.
redis.register_function{
  function_name = 'pending_@VERSION@',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV) return redis.call('ZRANGE', KEYS[1], 0, tonumber(ARGV[1]) - 1) end,
}

-- pending_events: what is to be delivered to one user of one conversation, oldest first.
-- KEYS pending, lane. ARGV conv, user, lane number. Answers mark, event ('' when it is gone), mark, event …
redis.register_function{
  function_name = 'pending_events_@VERSION@',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV)
    local result = {}
    for n, member in ipairs(marks_of(KEYS[1], ARGV[1], ARGV[2])) do
      if n > 100 then break end
      local ms, sequence = split_id(string.match(member, '(%S+)$'))
      local event, own_event, sender = event_at(KEYS[2], ARGV[3], ms, sequence)
      result[2 * n - 1] = member
      result[2 * n] = (sender == ARGV[2] and own_event or event) or ''
    end
    return result
  end,
}

-- deliver: appends one event to one queue, once. KEYS epoch, queue, user.
-- ARGV epoch, conv, user, mark's '<ms>-<sequence>', event, queue limits, the conversation's key. Answers 'delivered',
-- 'repeat', 'failed <why>' or 'epoch <current>'.
redis.register_function('deliver_@VERSION@', function(KEYS, ARGV)
  local current = redis.call('HGET', KEYS[1], 'id')
  if current ~= ARGV[1] then return 'epoch ' .. (current or '') end
  local ms, sequence = split_id(ARGV[4])
  local last = redis.call('HGET', KEYS[3], 'delivered:' .. ARGV[2])
  if last then
    local last_ms, last_sequence = split_id(last)
    if ms < last_ms or ms == last_ms and sequence <= last_sequence then return 'repeat' end
  end
  local failure, q = enqueue(KEYS[2], ARGV[3], ARGV[1], ARGV[5], ARGV[6])
  if failure then return 'failed ' .. failure.err end
  local from = message_sender(ARGV[5])
  if from and from ~= ARGV[3] then
    local places = no_places()
    places[1], places[2], places.keys[ARGV[3]] = ARGV[3], q or 0, KEYS[2]
    pcall(push_among, places, ARGV[7], ARGV[1], ARGV[5])
  end
  redis.call('HSET', KEYS[3], 'delivered:' .. ARGV[2], ARGV[4])
  return 'delivered'
end)

-- settled: marks that are done. KEYS pending, conversation. ARGV marks. Answers how many were there.
redis.register_function{
  function_name = 'settled_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    local removed = redis.call('ZREM', KEYS[1], unpack(ARGV))
    if removed > 0 then redis.call('HINCRBY', KEYS[2], 'pending', -removed) end
    return removed
  end,
}

-- cleared: a user of a group is owed nothing any more, unless there is a new mark. KEYS pending, owed. ARGV conv, user.
redis.register_function{
  function_name = 'cleared_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    if #marks_of(KEYS[1], ARGV[1], ARGV[2]) == 0 then redis.call('SREM', KEYS[2], ARGV[2]) end
  end,
}

-- chunk: delivers the oldest chunk of a group's fan-out, all of it, once.
-- KEYS epoch, conversation, lane, pending, chunks, owed, then the queue of each user of the chunk.
-- ARGV epoch, conv, lane number, queue limits, the chunk ('' to ask for it). Answers the chunk that is the oldest then,
-- '' for none, or 'epoch <current>'.
redis.register_function('chunk_@VERSION@', function(KEYS, ARGV)
  local current, conv = redis.call('HGET', KEYS[1], 'id'), ARGV[2]
  if current ~= ARGV[1] then return 'epoch ' .. (current or '') end
  local chunk = redis.call('LINDEX', KEYS[5], 0) or ''
  -- Somebody else has delivered the one that was meant.
  if chunk == '' or chunk ~= ARGV[5] then return chunk end

  local part, place, users = string.match(chunk, '^(%d+) (%S+) (.*)$')
  local ms, sequence = split_id(place)
  local event, own_event, sender = event_at(KEYS[3], ARGV[3], ms, sequence)
  local anyone_owed = redis.call('EXISTS', KEYS[6]) == 1
  local n, marks, places = 6, 0, no_places()
  for user in string.gmatch(users, '[^,]+') do
    n = n + 1
    -- Behind what a user is owed everything waits, or it would overtake.
    local waits = anyone_owed and redis.call('SISMEMBER', KEYS[6], user) == 1
    if event and (waits
      or user == sender and enqueue(KEYS[n], user, current, own_event, ARGV[4])
      or user ~= sender and enqueue_among(places, KEYS[n], user, event, ARGV[4])) then
      redis.call('ZADD', KEYS[4], ms, mark(place, conv, user))
      redis.call('SADD', KEYS[6], user)
      marks = marks + 1
    end
  end
  wake_all(places, current, event)
  if event and message_sender(event) then pcall(push_among, places, KEYS[2], current, event) end
  redis.call('LPOP', KEYS[5])
  redis.call('ZREM', KEYS[4], mark(place, conv, '*' .. part))
  redis.call('HINCRBY', KEYS[2], 'pending', marks - 1)
  return redis.call('LINDEX', KEYS[5], 0) or ''
end)

-- trim: drops what is archived from a lane, but nothing that is still to be delivered, and notes how far that is for
-- people to see. KEYS lane, pending, archived. ARGV archived id. Answers how many entries went.
redis.register_function{
  function_name = 'trim_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    local ms, sequence = split_id(ARGV[1])
    local floor = string.format('%.0f-%.0f', ms, sequence + 1)
    local oldest = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
    if oldest then
      -- Marks of one millisecond are in no order of their own: keep all of it.
      local held_ms = split_id(string.match(oldest, '(%S+)$'))
      if held_ms <= ms then floor = string.format('%.0f-0', held_ms) end
    end
    redis.call('SET', KEYS[3], ARGV[1])
    return redis.call('XTRIM', KEYS[1], 'MINID', floor)
  end,
}
