-- tell_own: an event for a user's own devices. KEYS epoch, the user's queue. ARGV epoch, user, event, queue cap.
-- Answers 'done', 'failed <why>' or 'epoch <current>'.
redis.register_function('tell_own_@VERSION@', function(KEYS, ARGV)
  local current = redis.call('HGET', KEYS[1], 'id')
  if current ~= ARGV[1] then return 'epoch ' .. (current or '') end
  local failure = enqueue(KEYS[2], ARGV[2], ARGV[1], ARGV[3], ARGV[4])
  return failure and 'failed ' .. failure.err or 'done'
end)
