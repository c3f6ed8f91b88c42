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
