-- gate_add: users who searched for something, as hashes, until there are enough of them; the time in which they must come
-- begins with the first. KEYS a query's set. ARGV milliseconds of that time, how many are enough, hashes. Answers how many
-- there are.
redis.register_function('gate_add_@VERSION@', function(KEYS, ARGV)
  local enough, has = tonumber(ARGV[2]), redis.call('SCARD', KEYS[1])
  for i = 3, #ARGV do
    if has < enough then has = has + redis.call('SADD', KEYS[1], ARGV[i]) end
  end
  if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
  return has
end)

-- raise_stream: has a stream go on above an id. KEYS the stream. ARGV the id. Answers 1, or 0 where it is there.
redis.register_function('raise_stream_@VERSION@', function(KEYS, ARGV)
  if not is_before(last_id(KEYS[1]), ARGV[1]) then return 0 end
  redis.call('XADD', KEYS[1], ARGV[1], 'raised', '1')
  return 1
end)
