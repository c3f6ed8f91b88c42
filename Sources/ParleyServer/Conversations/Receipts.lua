-- How far the members of conversations have read, and got delivered.

-- receipts: positions as one of the members may see them: who may not write shows theirs to nobody else. KEYS
-- conversations. ARGV that member, then of each conversation the number of members asked for, and those.
-- Answers read, delivered and the seq at joining a group of each member in this order, nothing ('') for what is not shown
-- or known.
redis.register_function{
  function_name = 'receipts_@VERSION@',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV)
    local result, at = {}, 2
    for _, key in ipairs(KEYS) do
      local fields, users, last = {'closed'}, {}, at + tonumber(ARGV[at])
      for n = at + 1, last do
        users[#users + 1] = ARGV[n]
        fields[#fields + 1] = 'read:' .. ARGV[n]
        fields[#fields + 1] = 'delivered:' .. ARGV[n]
      end
      local values, joined = redis.call('HMGET', key, unpack(fields)), {}
      if string.find(key, ':g:', 1, true) then
        joined = redis.call('HMGET', 'members' .. string.sub(key, 5), unpack(users))
      end
      for n, user in ipairs(users) do
        local is_hidden = user ~= ARGV[1] and is_closed(values[1], user)
        result[#result + 1] = is_hidden and '' or values[2 * n] or '0'
        result[#result + 1] = is_hidden and '' or values[2 * n + 1] or '0'
        result[#result + 1] = joined[n] and string.match(joined[n], '^%d+') or ''
      end
      at = last + 1
    end
    return result
  end,
}

-- Members of a group who are all told of each other: what was read, and what was delivered, with every message almost.
local EACH_READ, EACH_DELIVERED = 128, 32
local AUTHORS = 16  -- of a bigger group, who are told: those who wrote last

-- Who has written last in a group, as a set.
local function last_authors(key, members)
  local fields, authors = {}, {}
  for n, user in ipairs(members) do fields[n] = 'author:' .. user end
  for n, seq in ipairs(redis.call('HMGET', key, unpack(fields))) do
    if seq then authors[#authors + 1] = {members[n], tonumber(seq)} end
  end
  table.sort(authors, function(a, b) return a[2] > b[2] end)
  local set = {}
  for n = 1, math.min(#authors, AUTHORS) do set[authors[n][1]] = true end
  return set
end

-- group_receipts: members of a group have got further. What was delivered to them is noted, what they have read was
-- before; both are told to the other members, or in a bigger group to those who wrote last.
-- KEYS epoch, conversation, members. ARGV epoch, conv, then user, seq delivered and '1' if they have read on, by turns.
-- Answers 'done', 'known' (nothing new) or 'epoch <current>'.
redis.register_function('group_receipts_@VERSION@', function(KEYS, ARGV)
  local current = redis.call('HGET', KEYS[1], 'id')
  if current ~= ARGV[1] then return 'epoch ' .. (current or '') end
  local members, is_member = redis.call('HKEYS', KEYS[3]), {}
  for _, user in ipairs(members) do is_member[user] = true end

  local last = tonumber(redis.call('HGET', KEYS[2], 'seq') or 0)
  local writes, steps, for_all = {}, {}, {}
  for i = 3, #ARGV, 3 do
    local user, has_read = ARGV[i], ARGV[i + 2] == '1'
    local have = is_member[user] and redis.call('HMGET', KEYS[2], 'read:' .. user, 'delivered:' .. user)
    if have then
      local seq, read = math.min(tonumber(ARGV[i + 1]), last), tonumber(have[1] or 0)
      local known = math.max(read, tonumber(have[2] or 0))
      if seq > known then
        writes[#writes + 1] = 'delivered:' .. user
        writes[#writes + 1] = string.format('%.0f', seq)
      end
      if seq > known or has_read then
        local step = string.format('%s:%.0f:%.0f', user, read, math.max(seq, known))
        steps[#steps + 1] = step
        if #members <= EACH_DELIVERED or has_read and #members <= EACH_READ then for_all[#for_all + 1] = step end
      end
    end
  end
  if #steps == 0 then return 'known' end
  local authors = #for_all < #steps and last_authors(KEYS[2], members) or {}
  if #writes > 0 then redis.call('HSET', KEYS[2], unpack(writes)) end
  local function notice(told) return '!receipts ' .. ARGV[2] .. ' ' .. table.concat(told, ',') end
  local to_all, to_authors = notice(for_all), notice(steps)
  for _, user in ipairs(members) do
    local told = authors[user] and steps or for_all
    -- Nobody is told of themself alone.
    if #told > 1 or #told == 1 and string.sub(told[1], 1, #user + 1) ~= user .. ':' then
      redis.call('PUBLISH', 'user:' .. user, authors[user] and to_authors or to_all)
    end
  end
  return 'done'
end)
