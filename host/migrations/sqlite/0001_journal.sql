-- The journal. Ids are the sixteen bytes of a UUIDv7, times are microseconds since 1970.
-- Tables with wide rows keep their rowid: a kilobyte in a WITHOUT ROWID tree costs half the speed.

CREATE TABLE event (
    id          BLOB    NOT NULL UNIQUE,
    source      TEXT    NOT NULL,
    event_type  TEXT    NOT NULL,
    resource    TEXT,
    resource_id TEXT,
    external_id TEXT,
    occurred_at BIGINT,
    received_at BIGINT  NOT NULL,
    attributes  TEXT,
    data        TEXT    NOT NULL,
    -- How many flows and endpoints took it when it was captured.
    matched     INTEGER NOT NULL
);

-- By what a source's repeats are recognised, for 24 hours.
CREATE TABLE capture_key (
    source     TEXT   NOT NULL,
    key        TEXT   NOT NULL,
    event_id   BLOB   NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (source, key)
) WITHOUT ROWID;
CREATE INDEX capture_key_expiry ON capture_key (expires_at);

-- Events that wait for the modules of a flow. The row goes when the plan is recorded.
CREATE TABLE planning (
    event_id   BLOB    NOT NULL,
    flow_id    BLOB    NOT NULL,
    due_at     BIGINT  NOT NULL,
    lease      BIGINT,
    attempts   INTEGER NOT NULL,
    record_key TEXT,
    PRIMARY KEY (event_id, flow_id)
) WITHOUT ROWID;
CREATE INDEX planning_due ON planning (due_at);
CREATE INDEX planning_record ON planning (record_key, event_id) WHERE record_key IS NOT NULL;

-- What the modules of a flow said of an event: the trace.
CREATE TABLE plan (
    event_id BLOB   NOT NULL,
    flow_id  BLOB   NOT NULL,
    at       BIGINT NOT NULL,
    steps    TEXT   NOT NULL
);
CREATE INDEX plan_event ON plan (event_id);

CREATE TABLE delivery (
    id           BLOB    NOT NULL PRIMARY KEY,
    event_id     BLOB    NOT NULL,
    endpoint_id  BLOB    NOT NULL,
    flow_id      BLOB,
    event_type   TEXT    NOT NULL,
    -- 0 pending, 1 leased, 2 delivered, 3 dead, 4 superseded, 5 cancelled
    status       INTEGER NOT NULL CHECK (status BETWEEN 0 AND 5),
    -- Pending: when to send. Leased: when the lease runs out. Otherwise nothing is due.
    due_at       BIGINT,
    lease        BIGINT,
    attempts     INTEGER NOT NULL,
    -- Attempts made before the present round of the retry schedule: a replay begins a new round.
    round_from   INTEGER NOT NULL,
    created_at   BIGINT  NOT NULL,
    settled_at   BIGINT,
    order_key    TEXT,
    collapse_key TEXT,
    collapse_by  BIGINT,
    collapsed    INTEGER NOT NULL,
    dedupe_key   TEXT,
    CHECK ((due_at IS NOT NULL) = (status IN (0, 1))),
    CHECK ((lease IS NOT NULL) = (status = 1)),
    CHECK ((settled_at IS NOT NULL) = (status IN (2, 3, 4, 5)))
) WITHOUT ROWID;
CREATE INDEX delivery_event ON delivery (event_id);
CREATE INDEX delivery_due ON delivery (endpoint_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX delivery_order ON delivery (endpoint_id, order_key, event_id)
    WHERE order_key IS NOT NULL AND due_at IS NOT NULL;
CREATE UNIQUE INDEX delivery_collapse ON delivery (endpoint_id, collapse_key)
    WHERE collapse_key IS NOT NULL AND status = 0 AND attempts = 0;
CREATE UNIQUE INDEX delivery_dedupe ON delivery (endpoint_id, dedupe_key)
    WHERE dedupe_key IS NOT NULL;

-- What a delivery sends, where that is not the event as captured.
CREATE TABLE message (
    delivery_id BLOB NOT NULL UNIQUE,
    body        TEXT NOT NULL
);

CREATE TABLE attempt (
    delivery_id      BLOB    NOT NULL,
    number           INTEGER NOT NULL CHECK (number > 0),
    at               BIGINT  NOT NULL,
    duration_us      BIGINT  NOT NULL,
    response_status  INTEGER,
    error_class      TEXT,
    error            TEXT,
    request_headers  TEXT    NOT NULL,
    response_headers TEXT,
    response_body    BLOB,
    UNIQUE (delivery_id, number)
);

CREATE TABLE dead_letter (
    id          BLOB   NOT NULL PRIMARY KEY,
    event_id    BLOB   NOT NULL,
    event_type  TEXT   NOT NULL,
    delivery_id BLOB   UNIQUE,
    endpoint_id BLOB,
    flow_id     BLOB,
    reason      TEXT   NOT NULL,
    detail      TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    -- Set while a replay is under way; the row goes when it succeeds, and is cleared when it fails.
    replayed_at BIGINT,
    CHECK ((delivery_id IS NULL) = (endpoint_id IS NULL))
) WITHOUT ROWID;
CREATE UNIQUE INDEX dead_letter_plan ON dead_letter (event_id, flow_id) WHERE delivery_id IS NULL;

-- Sources, endpoints, flows and tokens: what operators set. `sealed` holds encrypted secrets.
CREATE TABLE object (
    kind       TEXT   NOT NULL,
    id         BLOB   NOT NULL,
    name       TEXT   NOT NULL,
    body       TEXT   NOT NULL,
    sealed     BLOB,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (kind, id),
    UNIQUE (kind, name)
);

-- Grows by one with every change of an object or a module; nodes watch it.
CREATE TABLE topology (version BIGINT NOT NULL);
INSERT INTO topology (version) VALUES (1);

CREATE TABLE component (
    sha256 BLOB NOT NULL PRIMARY KEY,
    wasm   BLOB NOT NULL
);

CREATE TABLE module (
    id         BLOB    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    version    INTEGER NOT NULL CHECK (version > 0),
    sha256     BLOB    NOT NULL REFERENCES component (sha256),
    report     TEXT    NOT NULL,
    active     BOOLEAN NOT NULL,
    created_at BIGINT  NOT NULL,
    UNIQUE (name, version)
);
CREATE UNIQUE INDEX module_active ON module (name) WHERE active;

-- Running processes. A lease token begins with its holder's id; what a process held that has not been
-- seen for a while is claimed by others.
CREATE TABLE node (
    id      BIGINT NOT NULL PRIMARY KEY,
    seen_at BIGINT NOT NULL
);
