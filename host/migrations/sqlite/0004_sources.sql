-- What changed, where a source tells: a JSON object of `changed` and `previous`.
ALTER TABLE event ADD COLUMN changes TEXT;

-- Sources that Waybill runs itself: one row for each.
CREATE TABLE source_state (
    source_id    BLOB   NOT NULL PRIMARY KEY,
    -- The process that is running it.
    node         BIGINT,
    -- When somebody asked for a run.
    requested_at BIGINT,
    -- When the last run began.
    started_at   BIGINT,
    -- What the source remembers from run to run, as JSON.
    memory       TEXT   NOT NULL,
    -- How the last run went, as JSON.
    report       TEXT   NOT NULL
);

-- What is kept of each row that a source has read.
CREATE TABLE source_row (
    source_id BLOB    NOT NULL,
    -- The table or list it stands in.
    list      TEXT    NOT NULL,
    row_key   BIGINT  NOT NULL,
    -- Of its content, as it was read.
    hash      BLOB    NOT NULL,
    -- How often it was seen with another content.
    revision  INTEGER NOT NULL,
    -- What was told of it because of a date.
    marks     TEXT    NOT NULL,
    -- Its content, as far as it is kept.
    cells     TEXT    NOT NULL,
    PRIMARY KEY (source_id, list, row_key)
) WITHOUT ROWID;
