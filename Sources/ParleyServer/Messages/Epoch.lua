-- Noticing that Redis has lost data. The epoch is a random name that a process makes; without it nothing is sent.

-- verify: does each lane still have what was acknowledged? KEYS lanes.
-- ARGV for each lane the last acknowledged id ('0-0' for none), then its archived id.
-- Answers the numbers (from 1, in the order of KEYS) of lanes that lack something.
redis.register_function{
  function_name = 'verify_@VERSION@',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV)
    local lost = {}
    for i, lane in ipairs(KEYS) do
      local acknowledged, archived, last = ARGV[2 * i - 1], ARGV[2 * i], last_id(lane)
      local lacks = is_before(last, archived) or is_before(last, acknowledged)
        or is_before(archived, acknowledged) and #redis.call('XRANGE', lane, acknowledged, acknowledged) == 0
      if lacks then lost[#lost + 1] = i end
    end
    return lost
  end,
}

-- raise: no lane hands out an id again. KEYS lanes, ARGV an id each.
redis.register_function{
  function_name = 'raise_@VERSION@',
  flags = {'allow-oom'},
  callback = function(KEYS, ARGV)
    for i, lane in ipairs(KEYS) do
      if is_before(last_id(lane), ARGV[i]) then
        if redis.call('EXISTS', lane) == 0 then
          redis.call('XADD', lane, ARGV[i], 'e', '')
          redis.call('XDEL', lane, ARGV[i])
        else
          redis.call('XSETID', lane, ARGV[i])
        end
      end
    end
  end,
}

-- new_epoch: unless somebody was quicker. KEYS epoch. ARGV the epoch that lost data ('' for none), the new one,
-- '1' if data may have been lost. Answers the epoch in force.
local function new_epoch(KEYS, ARGV)
  local current = redis.call('HGET', KEYS[1], 'id') or ''
  if current ~= ARGV[1] then return current end
  local since = ARGV[3] == '1' and string.format('%.0f', now_ms()) or '0'
  redis.call('HSET', KEYS[1], 'id', ARGV[2], 'since', since)
  return ARGV[2]
end

redis.register_function{function_name = 'new_epoch_@VERSION@', callback = new_epoch, flags = {'allow-oom'}}
