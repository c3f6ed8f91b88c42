-- Conversations and their history. Every unique key contains the conversation, and no foreign key crosses
-- conversations, so that the tables can be sharded by conversation_id.

CREATE TABLE conversations (
    id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('direct', 'group')),
    title text,
    member_version bigint NOT NULL DEFAULT 1,
    created_at bigint NOT NULL                              -- milliseconds since 1970
);

CREATE TABLE conversation_members (
    conversation_id text NOT NULL,
    user_id text NOT NULL,
    joined_at bigint NOT NULL,
    PRIMARY KEY (conversation_id, user_id)
);
CREATE INDEX conversation_members_user ON conversation_members (user_id, conversation_id);

-- Sequence numbers that no message has, because Redis lost data: neither a gap nor unread.
CREATE TABLE conversation_jumps (
    conversation_id text NOT NULL,
    after_seq bigint NOT NULL,                              -- the last before the jump
    to_seq bigint NOT NULL,                                 -- the last that was skipped
    epoch text NOT NULL,
    PRIMARY KEY (conversation_id, epoch)
);

-- History, partitioned by time: a message id begins with its milliseconds.
CREATE TABLE messages (
    conversation_id text NOT NULL,
    message_id bigint NOT NULL,
    seq bigint NOT NULL,
    sender_id text NOT NULL,
    cid text,
    body text NOT NULL,
    data text,                                              -- a JSON object, verbatim
    reply_to bigint,
    PRIMARY KEY (conversation_id, message_id)
) PARTITION BY RANGE (message_id);
CREATE INDEX messages_seq ON messages (conversation_id, seq);
CREATE INDEX messages_cid ON messages (conversation_id, sender_id, cid);
-- For messages of a time whose partition is missing.
CREATE TABLE messages_default PARTITION OF messages DEFAULT;

-- How far each lane of the commit log is archived, and by whom. A taker raises the token; the archiving transaction
-- compares token and position, so that a worker that was away too long cannot do harm.
CREATE TABLE lanes (
    lane integer PRIMARY KEY,
    position bigint NOT NULL DEFAULT 0,                     -- message id of the last archived entry
    token bigint NOT NULL DEFAULT 0,
    owner text,
    lease_until bigint NOT NULL DEFAULT 0                   -- milliseconds since 1970, by this server's clock
);
INSERT INTO lanes (lane) SELECT generate_series(0, 255);

CREATE TABLE workers (
    name text PRIMARY KEY,
    seen_at bigint NOT NULL
);

-- Entries of the commit log that could not be archived.
CREATE TABLE dead_letters (
    lane integer NOT NULL,
    entry_id text NOT NULL,
    entry text NOT NULL,
    reason text NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (lane, entry_id)
);

CREATE FUNCTION now_ms() RETURNS bigint LANGUAGE sql STABLE
    AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;
