-- worker_here: a worker says that it is there, and how it does, for people to see; one that says nothing leaves. Those not
-- heard of for an hour are forgotten. KEYS workers. ARGV name, words of the form name=value.
redis.register_function{
  function_name = 'worker_here_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    local now, all = now_ms(), redis.call('HGETALL', KEYS[1])
    for i = 1, #all, 2 do
      if now - tonumber(string.match(all[i + 1], '^%d+')) > 3600000 then redis.call('HDEL', KEYS[1], all[i]) end
    end
    if ARGV[2] == '' then
      redis.call('HDEL', KEYS[1], ARGV[1])
    else
      redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %s', now, ARGV[2]))
    end
  end,
}
