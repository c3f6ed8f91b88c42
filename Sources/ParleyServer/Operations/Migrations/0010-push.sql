-- Devices that want to be told of messages when nobody is there. A sign-in that ends takes its registrations along.

CREATE TABLE push_registrations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
    device text COLLATE "C" NOT NULL,
    login_id text COLLATE "C" NOT NULL REFERENCES logins ON DELETE CASCADE,
    provider text NOT NULL,                                 -- webpush, webhook
    -- What the provider knows the device by; of Web Push the endpoint.
    token text COLLATE "C" NOT NULL,
    -- Of Web Push: the browser's public key and the secret that it shares with nobody else (RFC 8291).
    public_key bytea,
    auth_secret bytea,
    -- Nothing of a message but who sent it passes the provider.
    hide_content boolean NOT NULL,
    registered_at bigint NOT NULL,                          -- milliseconds since 1970
    UNIQUE (user_id, device),
    UNIQUE (provider, token)
);
CREATE INDEX push_registrations_login ON push_registrations (login_id);
