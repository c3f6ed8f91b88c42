-- Search autocomplete: lists of suggestions. A list is made as a whole, a generation; the rows here are the truth, from which
-- Redis is filled, and say which of Redis's keys belong to a generation.

-- Which shard has which keys: the lower bounds of all shards but the first, rising. Never changed: a new one is a new
-- row, and generations that were made under the old one keep it.
CREATE TABLE suggest_shard_maps (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    locale text COLLATE "C" NOT NULL,
    bounds bytea[] NOT NULL,
    at bigint NOT NULL DEFAULT now_ms()                     -- milliseconds since 1970
);
CREATE INDEX suggest_shard_maps_locale ON suggest_shard_maps (locale, id);

CREATE TABLE suggest_generations (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    locale text COLLATE "C" NOT NULL,
    shard_map bigint NOT NULL REFERENCES suggest_shard_maps,
    base integer,                                           -- in force when this one was begun
    source text NOT NULL,                                   -- for people: where it is from
    state text NOT NULL CHECK (state IN ('building', 'complete', 'retired')),
    at bigint NOT NULL DEFAULT now_ms()
);
CREATE INDEX suggest_generations_locale ON suggest_generations (locale, id);

-- What the generation holds of each shard; the checksum is ParleyCore's SuggestIndex's.
CREATE TABLE suggest_shards (
    generation integer NOT NULL REFERENCES suggest_generations,
    shard integer NOT NULL,
    entries bigint NOT NULL,
    prefixes bigint NOT NULL,
    checksum bigint NOT NULL,
    PRIMARY KEY (generation, shard)
);

-- Each suggestion under each of its keys.
CREATE TABLE suggest_entries (
    generation integer NOT NULL,
    key bytea NOT NULL,
    display text COLLATE "C" NOT NULL,
    weight double precision NOT NULL,
    PRIMARY KEY (generation, key, display)
);

-- The heaviest suggestions of each prefix that has a sorted set of its own, the heaviest first.
CREATE TABLE suggest_prefixes (
    generation integer NOT NULL,
    prefix bytea NOT NULL,
    completions bytea NOT NULL,                             -- display and weight of each, NUL after each of them
    PRIMARY KEY (generation, prefix)
);

-- The generation that is answered from: one row a list, changed only by who names the one before.
CREATE TABLE suggest_current (
    locale text COLLATE "C" PRIMARY KEY,
    generation integer NOT NULL REFERENCES suggest_generations,
    previous integer REFERENCES suggest_generations,        -- to go back to
    at bigint NOT NULL
);
