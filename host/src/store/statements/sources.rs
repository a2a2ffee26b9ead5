//! Statements for sources that Waybill runs itself, and for their rows.

statements! {
    SELECT_SOURCE_STATES = "SELECT source_id, node, requested_at, started_at, memory, report \
        FROM source_state";
    /// Sources that no process runs and that are not in the settings. Objects are compared by their
    /// ids, because a node of an older version cannot read all of them.
    SELECT_DELETED_SOURCES = "SELECT s.source_id AS value FROM source_state s WHERE s.node IS NULL \
        AND NOT EXISTS (SELECT 1 FROM object o WHERE o.kind = 'source' AND o.id = s.source_id)";
    /// Only a source that no process runs and that has not run since `$4`.
    LEASE_SOURCE = "INSERT INTO source_state (source_id, node, started_at, memory, report) \
        VALUES ($1, $2, $3, '{}', '{}') ON CONFLICT (source_id) DO UPDATE SET node = $2, \
        started_at = $3, requested_at = NULL WHERE (source_state.node IS NULL \
        OR source_state.node = $2) AND COALESCE(source_state.started_at, 0) = $4";
    REQUEST_SOURCE = "INSERT INTO source_state (source_id, requested_at, memory, report) \
        VALUES ($1, $2, '{}', '{}') ON CONFLICT (source_id) DO UPDATE SET requested_at = $2";
    KEEP_SOURCE = "UPDATE source_state SET report = $3, memory = $4 \
        WHERE source_id = $1 AND node = $2";
    RELEASE_SOURCE = "UPDATE source_state SET report = $3, node = NULL \
        WHERE source_id = $1 AND node = $2";
    RELEASE_NODE_SOURCES_SQLITE = "UPDATE source_state SET node = NULL WHERE node = $1";
    /// In the order in which the group commit locks them.
    RELEASE_NODE_SOURCES_POSTGRES = "WITH held AS MATERIALIZED (SELECT source_id FROM source_state \
        WHERE node = $1 ORDER BY source_id FOR UPDATE) UPDATE source_state SET node = NULL FROM held \
        WHERE source_state.source_id = held.source_id";
    SELECT_SOURCE_ROWS = "SELECT row_key, hash, revision, marks FROM source_row \
        WHERE source_id = $1 AND list = $2 AND row_key > $3 AND row_key <= $4 ORDER BY row_key";
    SELECT_SOURCE_KEYS = "SELECT row_key AS value FROM source_row \
        WHERE source_id = $1 AND list = $2 AND row_key > $3 ORDER BY row_key LIMIT $4";
    SELECT_SOME_ROWS_SQLITE = "SELECT row_key, hash, revision, marks FROM source_row \
        WHERE source_id = $1 AND list = $2 AND row_key IN (SELECT value FROM json_each($3)) ORDER BY row_key";
    SELECT_SOME_ROWS_POSTGRES = "SELECT row_key, hash, revision, marks FROM source_row \
        WHERE source_id = $1 AND list = $2 AND row_key IN (SELECT CAST(value AS BIGINT) \
        FROM json_array_elements_text(CAST($3 AS JSON))) ORDER BY row_key";
    SELECT_SOME_CELLS_SQLITE = "SELECT row_key, hash, revision, marks, cells FROM source_row \
        WHERE source_id = $1 AND list = $2 AND row_key IN (SELECT value FROM json_each($3)) ORDER BY row_key";
    SELECT_SOME_CELLS_POSTGRES = "SELECT row_key, hash, revision, marks, cells FROM source_row \
        WHERE source_id = $1 AND list = $2 AND row_key IN (SELECT CAST(value AS BIGINT) \
        FROM json_array_elements_text(CAST($3 AS JSON))) ORDER BY row_key";
    REPLACE_LIST_ROWS = "DELETE FROM source_row WHERE source_id = $1 AND list = $3 AND row_key IN (\
        SELECT row_key FROM source_row WHERE source_id = $1 AND list = $2)";
    REPLACE_LIST_LETTERS = "DELETE FROM dead_letter WHERE source_id = $1 AND list = $3 AND row_id IN (\
        SELECT row_id FROM dead_letter WHERE source_id = $1 AND list = $2)";
    RENAME_LIST_ROWS = "UPDATE source_row SET list = $3 WHERE source_id = $1 AND list = $2";
    RENAME_LIST_LETTERS = "UPDATE dead_letter SET list = $3 WHERE source_id = $1 AND list = $2";
    FORGET_SOURCE_ROWS = "DELETE FROM source_row WHERE (source_id, list, row_key) IN (\
        SELECT source_id, list, row_key FROM source_row WHERE source_id = $1 LIMIT $2)";
    FORGET_SOURCE_STATE = "DELETE FROM source_state WHERE source_id = $1";
    /// The next list of a source, by one index lookup.
    NEXT_SOURCE_LIST = "SELECT list AS value FROM source_row WHERE source_id = $1 AND list > $2 \
        ORDER BY list LIMIT 1";
}
