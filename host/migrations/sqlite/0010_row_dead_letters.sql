-- A dead letter may also be a row of a source that cannot be read or told: it has neither an event nor a delivery.
CREATE TABLE dead_letter_of_all (
    id          BLOB   NOT NULL PRIMARY KEY,
    event_id    BLOB,
    event_type  TEXT,
    delivery_id BLOB   UNIQUE,
    endpoint_id BLOB,
    flow_id     BLOB,
    source_id   BLOB,
    -- The table or list of the source, and the row's key; where the row stands, if the key cannot be read.
    list        TEXT,
    row_id      TEXT,
    -- When the row is from, where it says so and can be asked for by that.
    row_at      BIGINT,
    reason      TEXT   NOT NULL,
    detail      TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    -- Set while a replay is under way; the row goes when it succeeds, and is cleared when it fails.
    replayed_at BIGINT,
    CHECK ((delivery_id IS NULL) = (endpoint_id IS NULL)),
    CHECK ((event_id IS NULL) <> (source_id IS NULL)),
    CHECK ((event_id IS NULL) = (event_type IS NULL)),
    CHECK ((source_id IS NULL) = (list IS NULL) AND (source_id IS NULL) = (row_id IS NULL))
) WITHOUT ROWID;
INSERT INTO dead_letter_of_all (id, event_id, event_type, delivery_id, endpoint_id, flow_id, reason, detail,
    created_at, replayed_at)
    SELECT id, event_id, event_type, delivery_id, endpoint_id, flow_id, reason, detail, created_at, replayed_at
    FROM dead_letter;
DROP TABLE dead_letter;
ALTER TABLE dead_letter_of_all RENAME TO dead_letter;
CREATE UNIQUE INDEX dead_letter_plan ON dead_letter (event_id, flow_id)
    WHERE delivery_id IS NULL AND source_id IS NULL;
CREATE UNIQUE INDEX dead_letter_row ON dead_letter (source_id, list, row_id) WHERE source_id IS NOT NULL;
