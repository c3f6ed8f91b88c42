-- People, their settings, and their sign-ins.
--
-- Texts that are searched by prefix compare bytewise (COLLATE "C"), so that a plain btree serves range conditions
-- whatever the database's locale.

CREATE TABLE users (
    id              text COLLATE "C" PRIMARY KEY,
    username        text COLLATE "C" NOT NULL UNIQUE CHECK (username ~ '^[a-z0-9_.-]{3,32}$'),
    display_name    text NOT NULL,
    -- display_name in lower case, as the server folds it.
    display_key     text COLLATE "C" NOT NULL,
    -- A PHC string: $scrypt$ln=17,r=8,p=1$salt$hash
    password_hash   text NOT NULL,
    -- Counts changes of the password (not of its cost), so that signing in cannot race with one.
    password_version bigint NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL DEFAULT now(),

    -- Who may open a conversation, and who may see when one was last here.
    may_write       text NOT NULL DEFAULT 'everyone' CHECK (may_write IN ('everyone', 'friends')),
    last_seen       text NOT NULL DEFAULT 'friends' CHECK (last_seen IN ('everyone', 'friends', 'nobody')),
    -- An IANA name; quiet hours are minutes of the day there, and may pass midnight.
    time_zone       text,
    quiet_from      smallint CHECK (quiet_from BETWEEN 0 AND 1439),
    quiet_to        smallint CHECK (quiet_to BETWEEN 0 AND 1439),
    CHECK ((quiet_from IS NULL) = (quiet_to IS NULL))
);

CREATE INDEX users_display_key ON users (display_key, id);

-- A sign-in is a family of refresh tokens. A revoked one is deleted.
CREATE TABLE logins (
    id                  text COLLATE "C" PRIMARY KEY,
    user_id             text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
    -- As the client named it when signing in.
    device              text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    -- When the current refresh token was made.
    rotated_at          timestamptz NOT NULL DEFAULT now(),
    -- SHA-256 of what the family's tokens share, of the current token, and of the one before, with the current one
    -- sealed under the one before: what answers a client again whose answer was lost.
    family_hash         bytea NOT NULL UNIQUE,
    token_hash          bytea NOT NULL,
    previous_hash       bytea,
    sealed_successor    bytea
);

CREATE INDEX logins_user ON logins (user_id, rotated_at);
