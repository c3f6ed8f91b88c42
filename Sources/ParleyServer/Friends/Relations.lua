-- What users are to each other, as far as Redis must know it: who may not write in a direct conversation (the field
-- closed: a user, or * for both), and what a queue was told of friends.

-- relate: who may not write, as of a version of what the two are to each other; an older one changes nothing. Applied
-- before the conversation's seed too, so that no send is committed without it; and where there is no seed yet, so that
-- one that was read from PostgreSQL before cannot undo it. A block holds in a full Redis too.
-- KEYS conversation. ARGV version, user, '*' or ''. Answers the version in force.
redis.register_function{
  function_name = 'relate_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    local known = redis.call('HGET', KEYS[1], 'rv')
    if known and tonumber(known) >= tonumber(ARGV[1]) then return known end
    redis.call('HSET', KEYS[1], 'rv', ARGV[1])
    if ARGV[2] == '' then
      redis.call('HDEL', KEYS[1], 'closed')
    else
      redis.call('HSET', KEYS[1], 'closed', ARGV[2])
    end
    return ARGV[1]
  end,
}

-- tell: appends events to a user's queue, each once: their rows of the outbox rise in the order in which they are due.
-- KEYS epoch, queue, user. ARGV epoch, user, queue cap, then row and event by turns, in order.
-- Answers 'told', 'failed <why>' or 'epoch <current>'.
redis.register_function('tell_@VERSION@', function(KEYS, ARGV)
  local current = redis.call('HGET', KEYS[1], 'id')
  if current ~= ARGV[1] then return 'epoch ' .. (current or '') end
  local told = tonumber(redis.call('HGET', KEYS[3], 'told') or 0)
  for i = 4, #ARGV, 2 do
    if tonumber(ARGV[i]) > told then
      local failure = enqueue(KEYS[2], ARGV[2], ARGV[1], ARGV[i + 1], ARGV[3])
      if failure then return 'failed ' .. failure.err end
      redis.call('HSET', KEYS[3], 'told', ARGV[i])
    end
  end
  return 'told'
end)

-- typing: tells the other of a direct conversation that somebody types. A stranger who has never written, or may not,
-- tells nobody. KEYS conversation. ARGV user, other, notice.
redis.register_function('typing_@VERSION@', function(KEYS, ARGV)
  local c = redis.call('HMGET', KEYS[1], 'mv', 'closed')
  if c[1] and not is_closed(c[2], ARGV[1]) then redis.call('PUBLISH', 'user:' .. ARGV[2], ARGV[3]) end
end)
