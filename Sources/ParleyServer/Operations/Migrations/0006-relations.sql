-- What users are to each other: friends, requests, blocks; and what of it is on its way to Redis.
--
-- Whoever changes something between two users holds the rows of both in users (in the order of their ids) until the
-- transaction ends. So the changes that concern a user are committed in the order of their outbox rows' ids.

-- Counts what decides who may write to this user, or is written to by them. The sum of two users' counts orders any two
-- readings of what they are to each other: the higher one is the newer.
ALTER TABLE users ADD COLUMN relations_version bigint NOT NULL DEFAULT 0;

-- One row for two friends, the lower id first.
CREATE TABLE friendships (
    lo_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
    hi_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
    since bigint NOT NULL,                                  -- milliseconds since 1970
    PRIMARY KEY (lo_id, hi_id),
    CHECK (lo_id < hi_id)
);
CREATE INDEX friendships_hi ON friendships (hi_id);

-- Waiting for an answer. One from somebody whom the asked one blocks is shown to the asking one alone.
CREATE TABLE friend_requests (
    from_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
    to_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
    at bigint NOT NULL,
    PRIMARY KEY (from_id, to_id),
    CHECK (from_id <> to_id)
);
CREATE INDEX friend_requests_to ON friend_requests (to_id, at);

CREATE TABLE blocks (
    blocker_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
    blocked_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
    at bigint NOT NULL,
    PRIMARY KEY (blocker_id, blocked_id),
    CHECK (blocker_id <> blocked_id)
);
CREATE INDEX blocks_blocked ON blocks (blocked_id);

-- Two outboxes, written with the change itself. They outlive the users that they name.

-- Who may write has changed: in one direct conversation (its id), or in all of a user's (theirs). Redis is told what
-- holds now, whatever the row was written for.
CREATE TABLE right_changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject text COLLATE "C" NOT NULL,
    at bigint NOT NULL
);
CREATE INDEX right_changes_subject ON right_changes (subject);

-- An event for the queue of one user. Redis remembers the id of the last one that a queue got.
CREATE TABLE relation_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recipient_id text COLLATE "C" NOT NULL,
    type text NOT NULL,
    from_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    at bigint NOT NULL
);
CREATE INDEX relation_events_recipient ON relation_events (recipient_id, id);

-- The setting was there before anything enforced it.
INSERT INTO right_changes (subject, at) SELECT id, now_ms() FROM users WHERE may_write = 'friends';
