-- Groups: their members as Redis knows them, and the changes that begin in PostgreSQL. A change is applied at the
-- version after the one in force and no other, so however many processes try, each is applied once and in order.

-- roster: who is in a group. KEYS epoch, conversation, members. ARGV epoch.
-- Answers 'roster <version> <users>', 'seed', or 'epoch <current>'.
redis.register_function{
  function_name = 'roster_@VERSION@',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV)
    local current = redis.call('HGET', KEYS[1], 'id')
    if current ~= ARGV[1] then return 'epoch ' .. (current or '') end
    local have = redis.call('HMGET', KEYS[2], 'mv', 'epoch')
    if not have[1] or have[2] ~= current then return 'seed' end
    local users = redis.call('HKEYS', KEYS[3])
    return #users == 0 and 'seed' or 'roster ' .. have[1] .. ' ' .. table.concat(users, ',')
  end,
}

-- seed_group: makes a group known to this epoch. KEYS conversation, epoch, members.
-- ARGV as of seed, then user and '<seq> <mid>' of their joining by turns: the members as of that version.
-- What Redis has stays, unless the snapshot is newer; an older one makes no members. Answers 'epoch <current>',
-- 'older <version in force>', or 'seeded <seq> <version in force> <users>'.
redis.register_function('seed_group_@VERSION@', function(KEYS, ARGV)
  local current = redis.call('HGET', KEYS[2], 'id')
  if current ~= ARGV[1] then return 'epoch ' .. (current or '') end
  local have = redis.call('HMGET', KEYS[1], 'mv', 'epoch')
  local known, version = tonumber(have[1] or -1), tonumber(ARGV[2])
  local has_members = redis.call('EXISTS', KEYS[3]) == 1
  if not has_members or have[2] ~= current and version > known then
    if version < known then return string.format('older %.0f', known) end
    redis.call('DEL', KEYS[3])
    for i = 5, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
    redis.call('HSET', KEYS[1], 'mv', ARGV[2])
  end
  local answer = seed(KEYS, ARGV)
  return answer .. ' ' .. redis.call('HGET', KEYS[1], 'mv') .. ' ' .. table.concat(redis.call('HKEYS', KEYS[3]), ',')
end)

-- change: applies one change of a group, an entry of the commit log like a message, but without a seq of its own.
-- KEYS  epoch, conversation, lane, pending, then the queue of each co-located recipient, members, chunks, owed
-- ARGV  epoch, conversation, lane number, version that the change makes, version that the recipients are of, 'add',
--       'remove' or '' (no member), the members concerned with commas between, event members (as of send), queue
--       limits, number of co-located recipients, those recipients, the other recipients: the members before the change
--       and those who join
-- Answers 'changed <mid> <seq> <ts> [pending recipients]', 'seed', 'stale <version in force> <members>' (applied
--       before, not yet its turn, or meant for others), 'epoch <current>'
redis.register_function('change_@VERSION@', function(KEYS, ARGV)
  local epoch, conv, version = ARGV[1], ARGV[2], ARGV[4]
  local current = redis.call('HGET', KEYS[1], 'id')
  if current ~= epoch then return 'epoch ' .. (current or '') end
  local c = redis.call('HMGET', KEYS[2], 'mv', 'epoch', 'seq', 'pending')
  if not c[1] or c[2] ~= epoch then return 'seed' end
  if c[1] ~= ARGV[5] or tonumber(c[1]) ~= tonumber(version) - 1 then return stale(c[1], conv, KEYS) end

  local members_key = KEYS[#KEYS - 2]
  local members = '"seq":' .. c[3] .. ',' .. ARGV[8]
  local ms, sequence = append(KEYS[3], now_ms(), '{' .. members .. '}')
  local mid = message_id(ms, tonumber(ARGV[3]), sequence)
  redis.call('HSET', KEYS[2], 'mv', version)
  for user in string.gmatch(ARGV[7], '[^,]+') do
    if ARGV[6] == 'add' then
      redis.call('HSETNX', members_key, user, c[3] .. ' ' .. mid)
    else
      redis.call('HDEL', members_key, user)
    end
  end

  local blocked, places, pending = tonumber(c[4] or 0) > 0, no_places(), nil
  local event = with_id('{' .. members .. '}', mid, ms, sequence)
  for n = 1, #ARGV - 10 do
    if blocked or n > tonumber(ARGV[10])
      or enqueue_among(places, KEYS[4 + n], ARGV[10 + n], event, ARGV[9]) then
      pending = pending or {}
      pending[#pending + 1] = n
    end
  end
  wake_all(places, epoch, event)
  local result = 'changed ' .. mid .. ' ' .. c[3] .. ' ' .. ms
  if not pending then return result end
  return result .. ' ' .. postpone(KEYS, KEYS[4], ARGV, 10, ms, sequence, blocked, pending)
end)

-- read_group: how far a member has read. KEYS epoch, conversation, members, the member's queue.
-- ARGV epoch, conv, user, seq, queue cap. Answers 'done <seq>', 'known' (nothing new), 'stranger', or 'epoch <current>'.
redis.register_function('read_group_@VERSION@', function(KEYS, ARGV)
  local current, user = redis.call('HGET', KEYS[1], 'id'), ARGV[3]
  if current ~= ARGV[1] then return 'epoch ' .. (current or '') end
  if redis.call('HEXISTS', KEYS[3], user) == 0 then return 'stranger' end
  local have = redis.call('HMGET', KEYS[2], 'seq', 'read:' .. user)
  local seq = math.min(tonumber(ARGV[4]), tonumber(have[1] or 0))
  if seq <= tonumber(have[2] or 0) then return 'known' end
  redis.call('HSET', KEYS[2], 'read:' .. user, seq)
  -- The reader's other devices clear their badge.
  local event = string.format('{"type":"receipt","conv":"%s","user":"%s","read":%.0f,"delivered":%.0f}',
    ARGV[2], user, seq, seq)
  enqueue(KEYS[4], user, ARGV[1], event, ARGV[5])
  pcall(push_read, user, KEYS[4], KEYS[2], ARGV[2], seq, tonumber(have[1] or 0))
  return string.format('done %.0f', seq)
end)

-- typing_group: tells the other members that one of them types; in a big group nobody.
-- KEYS members. ARGV user, notice, most members. Answers 'done' or 'stranger'.
redis.register_function('typing_group_@VERSION@', function(KEYS, ARGV)
  local users = redis.call('HKEYS', KEYS[1])
  local found = false
  for _, user in ipairs(users) do found = found or user == ARGV[1] end
  if not found then return 'stranger' end
  if #users <= tonumber(ARGV[3]) then
    for _, user in ipairs(users) do
      if user ~= ARGV[1] then redis.call('PUBLISH', 'user:' .. user, ARGV[2]) end
    end
  end
  return 'done'
end)
