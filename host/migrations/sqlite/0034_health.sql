-- A duty is something that one of all nodes does at a time. Whoever holds it says so again before `until`.
CREATE TABLE duty (
    name  TEXT   NOT NULL PRIMARY KEY,
    node  BIGINT NOT NULL,
    until BIGINT NOT NULL
);

-- What is remembered of the health of endpoints and sources from one look to the next, as JSON: since when one has been
-- failing and why, and how often a source sends.
CREATE TABLE health (
    kind    TEXT NOT NULL,
    subject TEXT NOT NULL,
    memory  TEXT NOT NULL,
    PRIMARY KEY (kind, subject)
);
