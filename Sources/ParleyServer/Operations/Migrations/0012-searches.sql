-- What people search for: counted by day, and held back until enough people searched for the same.

-- How far each shard of the stream of searches is counted, and by whom. As with lanes, a taker raises the token, and the
-- counts' transaction compares token and position.
CREATE TABLE search_shards (
    shard integer PRIMARY KEY,
    position text NOT NULL DEFAULT '0-0',                   -- id of the last counted entry
    token bigint NOT NULL DEFAULT 0,
    owner text,
    lease_until bigint NOT NULL DEFAULT 0                   -- milliseconds since 1970, by this server's clock
);
INSERT INTO search_shards (shard) SELECT generate_series(0, 3);

CREATE TABLE query_counts (
    locale text COLLATE "C" NOT NULL,
    day integer NOT NULL,                                   -- days since 1970, UTC
    query text COLLATE "C" NOT NULL,                        -- normalised
    display text COLLATE "C" NOT NULL,                      -- as it was written
    count bigint NOT NULL,
    held bigint NOT NULL,                                   -- kept from lists, to judge them by
    PRIMARY KEY (locale, day, query, display)
);
CREATE INDEX query_counts_day ON query_counts (day);

-- Queries that enough users searched for; all others stay unseen.
CREATE TABLE query_gate (
    locale text COLLATE "C" NOT NULL,
    query text COLLATE "C" NOT NULL,
    opened_on integer NOT NULL,                             -- day
    PRIMARY KEY (locale, query)
);

-- What users are hashed with where their searches are kept: whoever sees Redis alone cannot tell who they are.
CREATE TABLE search_key (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    key bytea NOT NULL
);
INSERT INTO search_key (key)
SELECT decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex');

-- What must not be suggested. The version rises with every change, in its transaction.
CREATE TABLE suggest_rules (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('exact', 'word', 'pattern')),
    locale text COLLATE "C",                                -- NULL for all
    rule text COLLATE "C" NOT NULL,
    at bigint NOT NULL,                                     -- milliseconds since 1970
    UNIQUE NULLS NOT DISTINCT (kind, locale, rule)
);
CREATE TABLE suggest_rule_log (
    version bigint PRIMARY KEY,
    action text NOT NULL CHECK (action IN ('block', 'unblock')),
    kind text NOT NULL,
    locale text,
    rule text NOT NULL,
    reason text,
    by_whom text NOT NULL,
    at bigint NOT NULL
);
CREATE TABLE suggest_rule_version (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    version bigint NOT NULL
);
INSERT INTO suggest_rule_version (version) VALUES (0);

-- Who builds lists of suggestions, what is asked for, and how it goes. One builds at a time; the token says that it is the
-- same one still, and what comes of two all the same is decided when a list is put in force.
CREATE TABLE suggest_builder (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    token bigint NOT NULL DEFAULT 0,
    owner text,
    lease_until bigint NOT NULL DEFAULT 0,                  -- milliseconds since 1970, by this server's clock
    asked bigint NOT NULL DEFAULT 0,                        -- how often somebody asked for lists
    answered bigint NOT NULL DEFAULT 0,                     -- up to which of these they were built
    next_at bigint NOT NULL DEFAULT 0,                      -- by the schedule
    is_resting boolean NOT NULL DEFAULT false,              -- from a rollback until somebody asks
    progress text,                                          -- for people; NULL when nothing is built
    outcome text,                                           -- of the last
    is_good boolean,
    outcome_at bigint
);
INSERT INTO suggest_builder DEFAULT VALUES;

-- Lists that were imported, as far as they are not what was gathered: what is built is made of both.
CREATE TABLE suggest_base (
    locale text COLLATE "C" NOT NULL,
    display text COLLATE "C" NOT NULL,
    weight double precision NOT NULL,
    PRIMARY KEY (locale, display)
);
