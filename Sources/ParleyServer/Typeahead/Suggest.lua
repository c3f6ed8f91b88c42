-- Lists of suggestions. A shard of a generation has a sorted set for each heavy prefix, a lexicographic set of all its
-- entries, and `ready`, which is written last: without it the rest may be anything.

-- suggest_read: KEYS ready, the prefix's sorted set, the lexicographic set. ARGV the prefix, how many.
-- Answers nothing where the shard is not ready; else 1 and members with scores, the heaviest first, or 0 and members of
-- the lexicographic set.
local function suggest_read(KEYS, ARGV)
  if redis.call('EXISTS', KEYS[1]) == 0 then return false end
  local ranked = redis.call('ZREVRANGE', KEYS[2], 0, ARGV[2] - 1, 'WITHSCORES')
  if #ranked > 0 then return { 1, unpack(ranked) } end
  return { 0, unpack(redis.call('ZRANGEBYLEX', KEYS[3], '[' .. ARGV[1], '(' .. ARGV[1] .. '\255', 'LIMIT', 0, ARGV[2])) }
end

redis.register_function{
  function_name = 'suggest_read_@VERSION@', callback = suggest_read, flags = {'no-writes', 'allow-stale'}
}

-- suggest_fill: writes sorted sets. KEYS the sets. ARGV their time to live in seconds, then of each set how many words
-- follow, and the scores and members. Repeating it changes nothing.
local function suggest_fill(KEYS, ARGV)
  local at = 2
  for _, key in ipairs(KEYS) do
    local count = tonumber(ARGV[at])
    redis.call('ZADD', key, unpack(ARGV, at + 1, at + count))
    redis.call('EXPIRE', key, ARGV[1])
    at = at + 1 + count
  end
  return #KEYS
end

redis.register_function{function_name = 'suggest_fill_@VERSION@', callback = suggest_fill, flags = {}}
