-- Finishing a fan-out that the commit could not: recipients in another slot, or whose queue refused the write.
-- Whoever finishes works through the marks of one (conversation, user) from the oldest on, each step can be
-- repeated, and `send` leaves a conversation's recipients pending while it has marks: so order holds without locks.

-- pending: the oldest marks of a lane. KEYS pending. ARGV limit. Answers '<conv> <user> <ms>-<sequence>' each.
redis.register_function{
  function_name = 'pending_@VERSION@',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV) return redis.call('ZRANGE', KEYS[1], 0, tonumber(ARGV[1]) - 1) end,
}

-- pending_events: what is to be delivered to one user of one conversation, oldest first.
-- KEYS pending, lane. ARGV conv, user, lane number. Answers mark, mid, event, mark, mid, event …
redis.register_function{
  function_name = 'pending_events_@VERSION@',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV)
    local prefix, result = ARGV[1] .. ' ' .. ARGV[2] .. ' ', {}
    for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
      if string.sub(member, 1, #prefix) == prefix and #result < 300 then
        local ms, sequence = split_id(string.sub(member, #prefix + 1))
        local id = string.format('%.0f-%.0f', ms, sequence)
        local found = redis.call('XRANGE', KEYS[2], id, id)
        local mid = message_id(ms, tonumber(ARGV[3]), sequence)
        local entry = found[1] and found[1][2][2] or ''
        -- The cid is the sender's alone.
        if string.match(entry, '"from":"([^"]*)"') ~= ARGV[2] then
          entry = string.gsub(entry, ',"cid":"[^"]*"}$', '}')
        end
        result[#result + 1] = member
        result[#result + 1] = mid
        result[#result + 1] = entry == '' and '' or with_id(entry, mid, ms)
      end
    end
    return result
  end,
}

-- deliver: appends one event to one queue, once. KEYS epoch, queue, user.
-- ARGV epoch, conv, user, mark's '<ms>-<sequence>', event, queue cap. Answers 'delivered', 'repeat', 'failed <why>'
-- or 'epoch <current>'.
redis.register_function('deliver_@VERSION@', function(KEYS, ARGV)
  local current = redis.call('HGET', KEYS[1], 'id')
  if current ~= ARGV[1] then return 'epoch ' .. (current or '') end
  local ms, sequence = split_id(ARGV[4])
  local last = redis.call('HGET', KEYS[3], 'delivered:' .. ARGV[2])
  if last then
    local last_ms, last_sequence = split_id(last)
    if ms < last_ms or ms == last_ms and sequence <= last_sequence then return 'repeat' end
  end
  local failure = enqueue(KEYS[2], ARGV[3], ARGV[1], ARGV[5], ARGV[6])
  if failure then return 'failed ' .. failure.err end
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

-- trim: drops what is archived from a lane, but nothing that is still to be delivered.
-- KEYS lane, pending. ARGV archived id. Answers how many entries went.
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
    return redis.call('XTRIM', KEYS[1], 'MINID', floor)
  end,
}
