//! Statements that erase a record.

statements! {
    SELECT_RECORD_SOURCES = "SELECT source AS value FROM record WHERE resource = $1 AND ordinal = $2 \
        AND resource_id = $3 AND (CAST($4 AS TEXT) IS NULL OR source = $4)";
    SELECT_EVENTS_OF_RECORD = "SELECT id, source FROM event WHERE id > $1 AND id <= $2 \
        AND resource = $3 AND resource_id = $4 AND (CAST($5 AS TEXT) IS NULL OR source = $5)";
    COUNT_BEING_SENT = "SELECT COUNT(*) AS value FROM delivery WHERE event_id = $1 AND status = 1 /* leased */";
    HOLD_DELIVERIES = "UPDATE delivery SET status = 5 /* cancelled */, due_at = NULL, settled_at = $2 \
        WHERE event_id = $1 AND status = 0 /* pending */";
    ERASE_RECORD = "DELETE FROM record WHERE resource = $1 AND ordinal = $2 AND resource_id = $3 \
        AND (CAST($4 AS TEXT) IS NULL OR source = $4)";
    ERASE_RECORD_FIELDS = "DELETE FROM record_field WHERE resource = $1 AND ordinal = $2 \
        AND resource_id = $3 AND (CAST($4 AS TEXT) IS NULL OR source = $4)";
    ERASE_KEPT_ROW = "UPDATE source_row SET cells = $5 WHERE source_id = $1 AND row_key = $2 \
        AND (list = $3 OR (CAST($4 AS SMALLINT) = 0 AND substr(list, 1, length($3)) = $3))";
    /// Number of a source's rows at this place, and of dead letters of them.
    COUNT_KEPT_ROWS = "SELECT (SELECT COUNT(*) FROM source_row WHERE source_id = $1 \
        AND row_key = $2 AND (list = $3 OR (CAST($4 AS SMALLINT) = 0 \
            AND substr(list, 1, length($3)) = $3))) + (SELECT COUNT(*) FROM dead_letter \
        WHERE source_id = $1 AND row_id = $5 AND list = $6) AS value";
    /// Dead letters of a row that a source could not read or turn into an event.
    ERASE_ROW_LETTERS = "DELETE FROM dead_letter WHERE source_id = $1 AND row_id = $2 AND list = $3";
    ERASE_PLANNING = "DELETE FROM planning WHERE event_id = $1";
    ERASE_PLANS = "DELETE FROM plan WHERE event_id = $1";
    ERASE_MODULE_ANSWERS = "DELETE FROM module_answer WHERE event_id = $1";
    ERASE_DEAD_LETTERS = "DELETE FROM dead_letter WHERE event_id = $1";
    ERASE_MESSAGES =
        "DELETE FROM message WHERE delivery_id IN (SELECT id FROM delivery WHERE event_id = $1)";
    /// A dedupe key may name a person.
    ERASE_DEDUPE_KEYS = "DELETE FROM dedupe_key WHERE (endpoint_id, key) IN (\
        SELECT endpoint_id, dedupe_key FROM delivery WHERE event_id = $1 AND dedupe_key IS NOT NULL)";
    /// The name under which a delivery can be cancelled may name a person too.
    ERASE_CANCEL_KEYS = "DELETE FROM cancel_key WHERE delivery_id IN (\
        SELECT id FROM delivery WHERE event_id = $1)";
    /// Values written for an event. A number does not name anybody, so it stays.
    ERASE_STATE_OF_EVENT = "DELETE FROM module_state WHERE event_id = $1 \
        AND substr(value, 1, 1) NOT IN ('-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9')";
    /// If the record's source is not known, `$2` is the end of the scope.
    ERASE_STATE_OF_RECORD = "DELETE FROM module_state WHERE scope <> '' AND (scope = $1 \
        OR (CAST($2 AS TEXT) IS NOT NULL AND substr(scope, length(scope) - length($2) + 1) = $2))";
    ERASE_ATTEMPTS =
        "DELETE FROM attempt WHERE delivery_id IN (SELECT id FROM delivery WHERE event_id = $1)";
    ERASE_DELIVERIES = "DELETE FROM delivery WHERE event_id = $1";
    ERASE_EVENT = "DELETE FROM event WHERE id = $1";
}
