-- Who writes most at present: what the lanes still keep is mostly of the last seconds.

local NEWEST = 20  -- entries that are looked at in each lane
local MOST = 10    -- senders and conversations that are named

-- The names that were counted most often, as rows of a table.
local function most_of(counts, all)
  local names, rows = {}, {}
  for name in pairs(counts) do names[#names + 1] = name end
  table.sort(names, function(one, other)
    if counts[one] ~= counts[other] then return counts[one] > counts[other] end
    return one < other
  end)
  for i = 1, math.min(#names, MOST) do
    local entries = counts[names[i]]
    rows[i] = {names[i], count(entries), percent(entries / all)}
  end
  return rows
end

redis.register_function{
  function_name = 'parley_senders',
  description = 'Who writes most at present, and where: FCALL_RO parley_senders 0',
  flags = {'no-writes'},
  callback = function()
    local senders, conversations, all, oldest, lines = {}, {}, 0, nil, {}
    for number = 0, LANES - 1 do
      for _, entry in ipairs(redis.call('XREVRANGE', 'lane:{L' .. number .. '}', '+', '-', 'COUNT', NEWEST)) do
        local conv, user = string.match(entry[2][2], '"conv":"([^"]+)","from":"([^"]+)"')
        if user then
          all, oldest = all + 1, math.min(oldest or math.huge, (split_id(entry[1])))
          senders[user] = (senders[user] or 0) + 1
          conversations[conv] = (conversations[conv] or 0) + 1
        end
      end
    end
    add(lines, 'entries', all == 0 and 'none: nobody writes, or everything is archived'
      or string.format('%s looked at, the oldest %s old', count(all), duration(now_ms() - oldest)))
    if all > 0 then
      add_table(lines, {'user', '>entries', '>share'}, most_of(senders, all))
      add_table(lines, {'conversation', '>entries', '>share'}, most_of(conversations, all))
    end
    return answer(lines)
  end,
}
