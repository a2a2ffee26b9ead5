-- What rules found: one row for each rule and thing. It names things and counts them, and holds nothing of an event.
CREATE TABLE alert (
    id              UUID   NOT NULL PRIMARY KEY,
    rule            TEXT   NOT NULL,
    -- Kind and id of what it is about.
    subject         TEXT   NOT NULL,
    -- State, value, limit and times, as JSON. Only the evaluation writes it.
    finding         TEXT   NOT NULL,
    is_open         BOOLEAN NOT NULL,
    changed_at      BIGINT NOT NULL,
    -- The notice that the last-resort webhook has yet to get.
    unsent          TEXT,
    -- What people said about it.
    acknowledged_at BIGINT,
    acknowledged_by TEXT,
    silenced_until  BIGINT,
    UNIQUE (rule, subject)
);
