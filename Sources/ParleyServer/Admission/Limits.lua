-- Rate limits of all gateways together, by the generic cell rate algorithm: a key holds the time, in microseconds, at which
-- all that was used would have come at the lasting rate, and is gone once that is past.

-- limit: may this happen now? KEYS a limit each. ARGV 'take' (unless all of them allow it nothing is taken) or 'charge' (it
-- has happened, and goes into a debt of ten seconds at most), then for each key: microseconds between two, how many at once,
-- how many are asked for. Answers how many microseconds to wait; 0 says that it may.
redis.register_function('limit_@VERSION@', function(KEYS, ARGV)
  local time = redis.call('TIME')
  local now, wait, ends = tonumber(time[1]) * 1000000 + tonumber(time[2]), 0, {}
  for i, key in ipairs(KEYS) do
    local interval, burst, cost = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
    local next = math.max(tonumber(redis.call('GET', key) or 0), now) + cost * interval
    local room = math.max(burst, cost) * interval
    wait = math.max(wait, next - now - room)
    ends[i] = ARGV[1] == 'charge' and math.min(next, now + burst * interval + 10000000) or next
  end
  if wait > 0 and ARGV[1] ~= 'charge' then return wait end
  for i, key in ipairs(KEYS) do
    redis.call('SET', key, string.format('%.0f', ends[i]), 'PX', math.ceil((ends[i] - now) / 1000))
  end
  return math.max(wait, 0)
end)
