-- How far the members of conversations have read, and got delivered.

-- receipts: positions as one of the members may see them: who may not write shows theirs to nobody else. KEYS
-- conversations. ARGV that member, then of each conversation the number of members asked for, and those.
-- Answers read and delivered of each member in this order, nothing ('') for what is not shown.
redis.register_function{
  function_name = 'receipts_@VERSION@',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV)
    local result, at = {}, 2
    for _, key in ipairs(KEYS) do
      local fields, last = {'closed'}, at + tonumber(ARGV[at])
      for n = at + 1, last do
        fields[#fields + 1] = 'read:' .. ARGV[n]
        fields[#fields + 1] = 'delivered:' .. ARGV[n]
      end
      local values = redis.call('HMGET', key, unpack(fields))
      for n = 2, #fields do
        local user = ARGV[at + math.floor(n / 2)]
        local is_hidden = user ~= ARGV[1] and is_closed(values[1], user)
        result[#result + 1] = is_hidden and '' or values[n] or '0'
      end
      at = last + 1
    end
    return result
  end,
}

local FEW_ENOUGH = 32  -- members of a group who are told what was delivered to each other, with every message almost

-- group_receipts: members of a group have got further. What was delivered to them is noted, what they have read was
-- before; both are told to the other members, or in a bigger group what was read alone. In a big one nothing happens.
-- KEYS epoch, conversation, members. ARGV epoch, conv, most members, then user, seq delivered and '1' if they have read
-- on, by turns. Answers 'done', 'known' (nothing new), 'big' or 'epoch <current>'.
redis.register_function('group_receipts_@VERSION@', function(KEYS, ARGV)
  local current = redis.call('HGET', KEYS[1], 'id')
  if current ~= ARGV[1] then return 'epoch ' .. (current or '') end
  if redis.call('HLEN', KEYS[3]) > tonumber(ARGV[3]) then return 'big' end
  local members, is_member = redis.call('HKEYS', KEYS[3]), {}
  for _, user in ipairs(members) do is_member[user] = true end

  local last = tonumber(redis.call('HGET', KEYS[2], 'seq') or 0)
  local writes, told, only = {}, {}, nil
  for i = 4, #ARGV, 3 do
    local user = ARGV[i]
    local have = is_member[user] and redis.call('HMGET', KEYS[2], 'read:' .. user, 'delivered:' .. user)
    if have then
      local seq, read = math.min(tonumber(ARGV[i + 1]), last), tonumber(have[1] or 0)
      local known = math.max(read, tonumber(have[2] or 0))
      if seq > known then
        writes[#writes + 1] = 'delivered:' .. user
        writes[#writes + 1] = string.format('%.0f', seq)
      end
      if seq > known and #members <= FEW_ENOUGH or ARGV[i + 2] == '1' then
        told[#told + 1] = string.format('%s:%.0f:%.0f', user, read, math.max(seq, known))
        only = user
      end
    end
  end
  if #writes > 0 then redis.call('HSET', KEYS[2], unpack(writes)) end
  if #told == 0 then return #writes > 0 and 'done' or 'known' end
  local notice = '!receipts ' .. ARGV[2] .. ' ' .. table.concat(told, ',')
  for _, user in ipairs(members) do
    if #told > 1 or user ~= only then redis.call('PUBLISH', 'user:' .. user, notice) end
  end
  return 'done'
end)
