-- Text for people. A function answers an array of status replies: redis-cli prints each as a line of its own, without
-- quotes and escapes, at a terminal (behind the line's number) and into a pipe.

local PROBLEM = '! '  -- begins a line that wants something done

local function answer(lines)
  local result = {}
  for i, line in ipairs(lines) do
    -- What a client named may not steer the terminal.
    result[i] = redis.status_reply((string.gsub(string.gsub(line, '%c', '?'), '%s+$', '')))
  end
  return result
end

-- A number with commas; - for none.
local function count(number)
  if not number then return '-' end
  local digits = string.format('%.0f', number)
  local first = (#digits - 1) % 3 + 1
  return string.sub(digits, 1, first) .. string.gsub(string.sub(digits, first + 1), '%d%d%d', ',%0')
end

local function plural(number, one, many) return count(number) .. ' ' .. (number == 1 and one or many) end

-- Milliseconds in the unit that suits them.
local function duration(ms)
  if not ms then return '-' end
  if ms < 1000 then return string.format('%.0f ms', math.max(ms, 0)) end
  for _, unit in ipairs{{60000, 1000, 's'}, {3600000, 60000, 'min'}, {2 * DAY, 3600000, 'h'}} do
    if ms < unit[1] then return string.format('%.1f %s', ms / unit[2], unit[3]) end
  end
  return string.format('%.1f d', ms / DAY)
end

local function size(bytes)
  if not bytes then return '-' end
  local units, n = {'B', 'KB', 'MB', 'GB', 'TB'}, 1
  while bytes >= 1024 and n < #units do bytes, n = bytes / 1024, n + 1 end
  return string.format(n == 1 and '%.0f %s' or '%.1f %s', bytes, units[n])
end

local function percent(share) return share and string.format('%.1f %%', 100 * share) or '-' end

-- Appends rows of cells as lines with aligned columns, under a heading; a heading that begins with > is one of numbers,
-- to the right.
local function add_table(lines, headings, rows)
  local widths, right = {}, {}
  local all = {{}}
  for column, heading in ipairs(headings) do
    right[column] = string.sub(heading, 1, 1) == '>'
    all[1][column] = right[column] and string.sub(heading, 2) or heading
  end
  for _, row in ipairs(rows) do all[#all + 1] = row end
  for _, row in ipairs(all) do
    for column, cell in ipairs(row) do widths[column] = math.max(widths[column] or 0, #cell) end
  end
  for _, row in ipairs(all) do
    local cells = {}
    for column, cell in ipairs(row) do
      local padding = string.rep(' ', widths[column] - #cell)
      cells[column] = right[column] and padding .. cell or cell .. padding
    end
    lines[#lines + 1] = '  ' .. table.concat(cells, '  ')
  end
end

-- A line under a name of its own.
local function add(lines, name, text) lines[#lines + 1] = string.format('%-10s', name) .. text end

-- A function's one argument; or nil and an error reply.
local function argument(KEYS, ARGV, name, example, is_valid)
  if #KEYS == 0 and #ARGV == 1 and is_valid(ARGV[1]) then return ARGV[1] end
  local given = #KEYS == 0 and #ARGV == 1 and ARGV[1] .. ' is none' or 'none was given'
  return nil, redis.error_reply(
    string.format('ERR %s takes one id, as in FCALL_RO %s 0 %s; %s', name, name, example, given))
end
