-- What is searched for more of late: a sorted set per locale, by forward decay (Cormode and others, ICDE 2009). A search
-- at t adds 2^((t - landmark) / half-life), so that nothing that stands there changes while time goes by: the weight now is
-- the score times 2^((landmark - now) / half-life).

local TREND_SPAN = 64       -- half-lives after which the landmark moves: far from what a double holds
local TREND_LEAST = 0.001   -- weight that is forgotten then

-- trend_add: searches of a stretch of a stream, once. KEYS the sorted set, its state. ARGV the stream, id of the stretch's
-- last entry, half-life in milliseconds, how many queries to keep, then for each: query, how many, when.
-- Answers 1, or 0 for a stretch that is in it.
redis.register_function('trend_add_@VERSION@', function(KEYS, ARGV)
  local state = redis.call('HMGET', KEYS[2], 'last:' .. ARGV[1], 'landmark', 'half_life')
  if state[1] and not is_before(state[1], ARGV[2]) then return 0 end
  local now, half_life = now_ms(), tonumber(ARGV[3])
  local landmark, before = tonumber(state[2] or now), tonumber(state[3] or half_life)
  local is_moved = before ~= half_life or (now - landmark) / half_life > TREND_SPAN
  if is_moved then
    redis.call('ZUNIONSTORE', KEYS[1], 1, KEYS[1], 'WEIGHTS', string.format('%.17g', 2 ^ ((landmark - now) / before)))
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. TREND_LEAST)
    landmark = now
  end
  for i = 5, #ARGV, 3 do
    local score = tonumber(ARGV[i + 1]) * 2 ^ ((tonumber(ARGV[i + 2]) - landmark) / half_life)
    redis.call('ZINCRBY', KEYS[1], string.format('%.17g', score), ARGV[i])
  end
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[4]))
  redis.call('HSET', KEYS[2], 'last:' .. ARGV[1], ARGV[2], 'landmark', string.format('%.0f', landmark),
    'half_life', ARGV[3])
  -- After as many half-lives nothing of it counts.
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, string.format('%.0f', TREND_SPAN * half_life)) end
  return 1
end)
