-- How far the members of conversations have read, and got delivered.

-- receipts: positions as they stand. KEYS conversations. ARGV of each the number of members asked for, and those.
-- Answers read and delivered of each member, in this order.
redis.register_function{
  function_name = 'receipts_@VERSION@',
  flags = {'no-writes'},
  callback = function(KEYS, ARGV)
    local result, at = {}, 1
    for _, key in ipairs(KEYS) do
      local fields, last = {}, at + tonumber(ARGV[at])
      for n = at + 1, last do
        fields[#fields + 1] = 'read:' .. ARGV[n]
        fields[#fields + 1] = 'delivered:' .. ARGV[n]
      end
      at = last + 1
      for _, value in ipairs(redis.call('HMGET', key, unpack(fields))) do result[#result + 1] = value or '0' end
    end
    return result
  end,
}
