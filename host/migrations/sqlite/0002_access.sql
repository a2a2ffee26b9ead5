-- Calls of the API, one row each. The id is that of the request, whose first 48 bits are its time.
CREATE TABLE audit (
    id          BLOB    NOT NULL PRIMARY KEY,
    -- The token that was shown, if it is known.
    token_id    BLOB,
    address     TEXT    NOT NULL,
    method      TEXT    NOT NULL,
    route       TEXT    NOT NULL,
    status      INTEGER NOT NULL,
    duration_us BIGINT  NOT NULL,
    -- More than one where calls from an address are slowed and share a row.
    calls       INTEGER NOT NULL
) WITHOUT ROWID;

-- What must not begin anew with a restart: a token's present window of calls, and its last use.
CREATE TABLE token_usage (
    token_id     BLOB    NOT NULL PRIMARY KEY,
    window_began BIGINT  NOT NULL,
    calls        INTEGER NOT NULL,
    last_used_at BIGINT  NOT NULL
) WITHOUT ROWID;
