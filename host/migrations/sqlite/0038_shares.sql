-- How nodes share what is limited for all of them together. `kind` says what: requests at once of an endpoint (0), its rate
-- in thousandths (1); -1 is the mark of a node that keeps to its shares.
CREATE TABLE share (
    node    BIGINT   NOT NULL,
    kind    SMALLINT NOT NULL,
    subject BLOB     NOT NULL,
    -- What the node may be using. All nodes together never hold more than there is.
    held    INTEGER  NOT NULL,
    wanted  INTEGER  NOT NULL,
    PRIMARY KEY (kind, subject, node)
);

-- How many calls of a token all nodes have taken in a minute, which is counted since 1970.
CREATE TABLE token_window (
    token_id BLOB    NOT NULL PRIMARY KEY,
    minute   BIGINT  NOT NULL,
    taken    INTEGER NOT NULL
);

-- The number of the oldest migration that a program must know to use this database. A program that knows it runs beside
-- newer ones.
CREATE TABLE schema_floor (version BIGINT NOT NULL);
INSERT INTO schema_floor (version) VALUES (38);

-- By this mark others see which key a node takes besides its own, while the key is being changed.
ALTER TABLE node ADD COLUMN next_key_mark BLOB;
