-- The commit of a message, and what depends on its form. Functions do not roll back: everything is checked before
-- the first write, and each recipient's writes stand under pcall of their own. Ids are never Lua numbers in output.
-- (@VERSION@ is replaced by a digest of the whole library when it is loaded.)

-- Numbers below 10^14 keep all their digits in a concatenation; sequence numbers and milliseconds are such.

local UNIX_2025 = 1735689600000  -- milliseconds; message ids count from here

-- (ms << 22 | lane << 12 | sequence) in decimal. The product passes 2^53, so it is made in two halves of base 10^7.
local function message_id(ms, lane, sequence)
  local since = ms - UNIX_2025
  local low = (since % 1e7) * 4194304 + lane * 4096 + sequence
  local high = math.floor(since / 1e7) * 4194304 + math.floor(low / 1e7)
  if high == 0 then return string.format('%.0f', low) end
  return string.format('%.0f%07.0f', high, low % 1e7)
end

-- Appends to the commit log at max(now, last + 1), the sequence carrying into the millisecond at 4096.
local function append(lane_key, now, entry)
  local id = redis.pcall('XADD', lane_key, now .. '-*', 'e', entry)
  if type(id) == 'string' then
    local dash = string.find(id, '-', 1, true)
    local ms, sequence = tonumber(string.sub(id, 1, dash - 1)), tonumber(string.sub(id, dash + 1))
    if sequence < 4096 then return ms, sequence end
    redis.call('XDEL', lane_key, id)
    redis.call('XADD', lane_key, (ms + 1) .. '-0', 'e', entry)
    return ms + 1, 0
  end
  -- The clock has stepped back behind the log.
  local ms, sequence = split_id(last_id(lane_key))
  sequence = sequence + 1
  if sequence >= 4096 then ms, sequence = ms + 1, 0 end
  redis.call('XADD', lane_key, ms .. '-' .. sequence, 'e', entry)
  return ms, sequence
end

-- How an event begins: what its commit log entry leaves out, because its id says it. A change of a message begins with
-- that message's id, and its own place is the revision that it makes.
local function head_of(is_change, mid, ms, sequence)
  if not is_change then return '{"mid":"' .. mid .. '","ts":' .. ms .. ',' end
  return string.format('{"ts":%.0f,"rev":%.0f,', ms, (ms - UNIX_2025) * 4096 + sequence)
end

-- An event as it stands in queues.
local function with_id(entry, mid, ms, sequence)
  return head_of(string.sub(entry, 1, 7) == '{"mid":', mid, ms, sequence) .. string.sub(entry, 2)
end

-- A place in the log, as marks and chunks name it.
local function place_of(ms, sequence) return string.format('%.0f-%04.0f', ms, sequence) end

local function mark(place, conv, user) return conv .. ' ' .. user .. ' ' .. place end

-- Leaves recipients of a commit for later: the n-th ones of ARGV[count_at + n], where ARGV[count_at] says how many of
-- them are co-located. Users of other servers, and those whose queue refused, get a mark each. Of a group a chunk of
-- co-located users ('+' and their ids with commas between, or those that must wait) gets an entry in the group's list
-- and a mark together; KEYS end with a group's members, chunks and owed. Answers what stays pending, '*' for chunks.
local function postpone(KEYS, pending_key, ARGV, count_at, ms, sequence, blocked, late)
  local conv, colocated, place = ARGV[2], tonumber(ARGV[count_at]), place_of(ms, sequence)
  local group, names, waiting, chunks = is_group(conv), {}, {}, {}
  for _, n in ipairs(late) do
    local user = ARGV[count_at + n]
    if string.byte(user) == 43 then
      chunks[#chunks + 1] = string.sub(user, 2)
    elseif group and blocked and n <= colocated then
      waiting[#waiting + 1] = user
    else
      redis.call('ZADD', pending_key, ms, mark(place, conv, user))
      if group and n <= colocated then redis.call('SADD', KEYS[#KEYS], user) end
      names[#names + 1] = user
    end
  end
  if #waiting > 0 then table.insert(chunks, 1, table.concat(waiting, ',')) end
  redis.call('HINCRBY', KEYS[2], 'pending', #names + #chunks)
  for part, users in ipairs(chunks) do
    redis.call('RPUSH', KEYS[#KEYS - 1], part .. ' ' .. place .. ' ' .. users)
    redis.call('ZADD', pending_key, ms, mark(place, conv, '*' .. part))
  end
  if #chunks > 0 then names[#names + 1] = '*' end
  return table.concat(names, ',')
end

-- The version in force and, of a group, its members.
local function stale(version, conv, KEYS)
  if not is_group(conv) then return 'stale ' .. version end
  return 'stale ' .. version .. ' ' .. table.concat(redis.call('HKEYS', KEYS[#KEYS - 2]), ',')
end

-- send: the commit point.
-- KEYS  epoch, conversation, lane, dedup bucket, late dedup, pending, then the queue of each co-located recipient; of a
--       group its members, chunks and owed at the end
-- ARGV  epoch, conversation, lane number, sender, cid, its milliseconds, content hash, membership version,
--       time of a look-up in history or '', dedup window in ms, queue limits, event members (JSON without braces, seq,
--       mid, ts and cid), what the message that it names is to it (below), '1' if the caller hears what is published to
--       the sender, number of co-located recipients, those recipients, the other recipients (chunks first: see postpone)
-- A reply, and a change of a message (an edit, a deletion), names a message: 'named' wants it looked up, '' names none
-- or one that is a reply's for sure, and '<its seq> <answer to named>' commits a change if there was no other since,
-- which may have deleted the message; the event members begin with its mid and seq then.
-- Answers one line: 'sent <mid> <seq> <ts> <q> [pending recipients]' with the position in the sender's queue if nobody
--       was woken for it (else '-'), 'dup <mid> <seq> <ts>', 'conflict', 'future', 'lookup <now>',
--       'named <last change>', 'seed', 'forbidden', 'stale <version> [members of a group]', 'epoch <current>'
local function send(KEYS, ARGV)
  local epoch, conv, sender, cid, hash = ARGV[1], ARGV[2], ARGV[4], ARGV[5], ARGV[7]
  local state = redis.call('HMGET', KEYS[1], 'id', 'since', 'push')
  if state[1] ~= epoch then return 'epoch ' .. (state[1] or '') end

  local now, cid_ms, window = now_ms(), tonumber(ARGV[6]), tonumber(ARGV[10])
  if cid_ms > now + DAY then return 'future' end
  local late = cid_ms < now - window
  local field = conv .. ' ' .. sender .. ' ' .. cid
  local memo = late and redis.call('GET', KEYS[5]) or redis.call('HGET', KEYS[4], field)
  if memo then
    local known, result = string.match(memo, '^(%x+) (.*)$')
    return known == hash and 'dup ' .. result or 'conflict'
  end
  -- Memory alone decides a cid of about now; not one from before Redis last lost data.
  if late or cid_ms <= tonumber(state[2]) + window then
    local looked = tonumber(ARGV[9])
    if not looked or now - looked > window then return string.format('lookup %.0f', now) end
  end

  local c = redis.call('HMGET', KEYS[2], 'mv', 'epoch', 'seq', 'pending', 'changed', 'closed')
  local changed_seq, seen = string.match(ARGV[13], '^(%d+) (%S+)$')
  if ARGV[13] == 'named' or seen and seen ~= (c[5] or '0') then return 'named ' .. (c[5] or '0') end
  if not c[1] or c[2] ~= epoch then return 'seed' end
  if is_closed(c[6], sender) then return 'forbidden' end
  if c[1] ~= ARGV[8] then return stale(c[1], conv, KEYS) end

  -- From here on only writes. Sending reads up to itself; a change has no seq of its own.
  local seq = changed_seq and tonumber(changed_seq) or tonumber(c[3] or 0) + 1
  local members = changed_seq and ARGV[12] or '"seq":' .. seq .. ',' .. ARGV[12]
  local own_end = ',"cid":"' .. cid .. '"}'
  local ms, sequence = append(KEYS[3], now, '{' .. members .. own_end)
  if changed_seq then
    redis.call('HSET', KEYS[2], 'changed', place_of(ms, sequence))
  elseif is_group(conv) then
    redis.call('HSET', KEYS[2], 'seq', seq, 'read:' .. sender, seq, 'author:' .. sender, seq)
  else
    redis.call('HSET', KEYS[2], 'seq', seq, 'read:' .. sender, seq)
  end
  local mid = message_id(ms, tonumber(ARGV[3]), sequence)
  local result = mid .. ' ' .. seq .. ' ' .. ms
  -- A late cid has a key of its own, since its bucket may be about to expire, and stands in the bucket too: after a
  -- step back of the clock it is not late any more.
  if late then redis.call('SET', KEYS[5], hash .. ' ' .. result, 'PX', 2 * window) end
  redis.call('HSET', KEYS[4], field, hash .. ' ' .. result)
  -- Held until no clock can bring the cid back within a window; staggered by lane.
  local expiry = math.max(now, cid_ms) + 2 * window + tonumber(ARGV[3]) * 200
  redis.call('PEXPIREAT', KEYS[4], string.format('%.0f', expiry), 'NX')

  -- Behind a pending event of this conversation everything waits, or it would overtake.
  local blocked = tonumber(c[4] or 0) > 0
  local event = head_of(changed_seq, mid, ms, sequence) .. members
  local own_event = event .. own_end
  event = event .. '}'
  local colocated, limits, places, pending, own_q = tonumber(ARGV[15]), ARGV[11], no_places(), nil, nil
  for i = 16, #ARGV do
    local user, n, failure = ARGV[i], i - 15, nil
    if blocked or n > colocated then
      failure = true
    elseif user == sender then
      failure, own_q = enqueue_own(KEYS[6 + n], user, epoch, own_event, limits, ARGV[14] == '1')
    else
      failure = enqueue_among(places, KEYS[6 + n], user, event, limits)
    end
    if failure then
      pending = pending or {}
      pending[#pending + 1] = n
    end
  end
  wake_all(places, epoch, event)
  if state[3] and not changed_seq then pcall(push_among, places, KEYS[2], epoch, event) end
  local answer = 'sent ' .. result .. ' ' .. (own_q or '-')
  if not pending then return answer end
  return answer .. ' ' .. postpone(KEYS, KEYS[6], ARGV, 15, ms, sequence, blocked, pending)
end

redis.register_function('send_@VERSION@', send)

-- seed: makes a conversation known to this epoch. KEYS conversation, epoch.
-- ARGV epoch, membership version, highest seq in history, jump to make if data was lost.
-- Answers 'epoch <current>' or 'seeded <seq>'.
local function seed(KEYS, ARGV)
  local current = redis.call('HGET', KEYS[2], 'id')
  if current ~= ARGV[1] then return 'epoch ' .. (current or '') end
  local have = redis.call('HMGET', KEYS[1], 'mv', 'epoch', 'seq')
  if have[1] and have[2] == ARGV[1] then return 'seeded ' .. have[3] end
  local version = math.max(tonumber(have[1] or 0), tonumber(ARGV[2]))
  local seq = math.max(tonumber(have[3] or 0), tonumber(ARGV[3])) + tonumber(ARGV[4])
  seq = string.format('%.0f', seq)
  redis.call('HSET', KEYS[1], 'mv', string.format('%.0f', version), 'epoch', ARGV[1], 'seq', seq)
  return 'seeded ' .. seq
end

redis.register_function('seed_@VERSION@', seed)
