//! Statements that delete data after its retention period.

/// A record's id as a number. The `0` next to it in the comparison covers ids that are not a number
/// or are too large for the column.
macro_rules! ordinal_postgres {
    () => {
        "CASE WHEN event.resource_id ~ '^[+-]?[0-9]{1,255}$' THEN CAST(LEAST(GREATEST( \
        CAST(event.resource_id AS NUMERIC), -9223372036854775808), 9223372036854775807) AS BIGINT) \
        ELSE 0 END"
    };
}

/// True for an event that nothing needs: its modules have run, it has no dead letter, and it does
/// not hold the state of a record. The record is found by its key; `$ordinal` is the event's
/// `resource_id` as a number.
macro_rules! needed_by_nobody {
    ($ordinal:expr) => {
        concat!(
            "NOT EXISTS (SELECT 1 FROM planning p WHERE p.event_id = event.id) \
            AND NOT EXISTS (SELECT 1 FROM dead_letter l WHERE l.event_id = event.id) \
            AND NOT EXISTS (SELECT 1 FROM record r WHERE r.event_id = event.id \
            AND r.resource = event.resource AND r.ordinal IN (0, ",
            $ordinal,
            ") AND r.resource_id = event.resource_id AND r.source = event.source)"
        )
    };
}

macro_rules! pruned_payloads {
    ($ordinal:expr) => {
        concat!(
            "UPDATE event SET data = 'null', packed = NULL, attributes = NULL, changes = NULL, pruned_at = $3 \
            WHERE id > $1 AND id <= $2 AND pruned_at IS NULL AND NOT EXISTS (SELECT 1 \
            FROM delivery d WHERE d.event_id = event.id AND d.due_at IS NOT NULL) AND ",
            needed_by_nobody!($ordinal)
        )
    };
}

macro_rules! pruned_events {
    ($ordinal:expr) => {
        concat!(
            "DELETE FROM event WHERE id > $1 AND id <= $2 \
            AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event_id = event.id) \
            AND NOT EXISTS (SELECT 1 FROM plan t WHERE t.event_id = event.id) AND ",
            needed_by_nobody!($ordinal)
        )
    };
}

/// Records whose last event came before a time. Unchanged and changed records use an index each.
macro_rules! unchanged_before {
    () => {
        "resource = $3 AND deleted_at IS NULL AND updated_at = created_at AND created_at < $1"
    };
}

macro_rules! changed_before {
    () => {
        "resource = $3 AND deleted_at IS NULL AND updated_at <> created_at AND updated_at < $1"
    };
}

macro_rules! pruned_records {
    ($which:expr, $lock:literal) => {
        concat!(
            "DELETE FROM record WHERE (resource, ordinal, resource_id, source) IN \
            (SELECT resource, ordinal, resource_id, source FROM record WHERE ",
            $which,
            " LIMIT $2",
            $lock,
            ")"
        )
    };
}

statements! {
    /// Except those whose replay is under way.
    PRUNE_DEAD_LETTERS = "DELETE FROM dead_letter WHERE id > $1 AND id <= $2 AND created_at < $3 \
        AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.id = dead_letter.delivery_id \
            AND d.due_at IS NOT NULL) \
        AND NOT EXISTS (SELECT 1 FROM planning p WHERE p.event_id = dead_letter.event_id \
            AND p.flow_id = dead_letter.flow_id)";
    PRUNE_DELIVERIES = "DELETE FROM delivery WHERE id > $1 AND id <= $2 AND due_at IS NULL \
        AND settled_at < $3 \
        AND NOT EXISTS (SELECT 1 FROM dead_letter l WHERE l.delivery_id = delivery.id)";
    PRUNE_MESSAGES_OF_NONE = "DELETE FROM message WHERE delivery_id > $1 AND delivery_id <= $2 \
        AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.id = message.delivery_id)";
    PRUNE_CANCEL_KEYS_OF_NONE = "DELETE FROM cancel_key WHERE delivery_id > $1 AND delivery_id <= $2 \
        AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.id = cancel_key.delivery_id)";
    PRUNE_ATTEMPTS_OF_NONE = "DELETE FROM attempt WHERE delivery_id > $1 AND delivery_id <= $2 \
        AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.id = attempt.delivery_id)";
    PRUNE_ATTEMPTS = "DELETE FROM attempt WHERE delivery_id > $1 AND delivery_id <= $2 AND at < $3 \
        AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.id = attempt.delivery_id \
            AND d.due_at IS NOT NULL) \
        AND NOT EXISTS (SELECT 1 FROM dead_letter l WHERE l.delivery_id = attempt.delivery_id)";
    PRUNE_PLANS = "DELETE FROM plan WHERE event_id > $1 AND event_id <= $2 AND at < $3 \
        AND NOT EXISTS (SELECT 1 FROM planning p WHERE p.event_id = plan.event_id) \
        AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event_id = plan.event_id \
            AND d.due_at IS NOT NULL) \
        AND NOT EXISTS (SELECT 1 FROM dead_letter l WHERE l.event_id = plan.event_id)";
    PRUNE_PAYLOADS_SQLITE = pruned_payloads!("CAST(event.resource_id AS INTEGER)");
    PRUNE_PAYLOADS_POSTGRES = pruned_payloads!(ordinal_postgres!());
    /// Runs after [`PRUNE_PAYLOADS_SQLITE`]: a delivery without its message would send the event
    /// itself, so both are deleted together.
    PRUNE_MESSAGES_OF_PRUNED = "DELETE FROM message WHERE delivery_id IN (SELECT d.id FROM event e \
        JOIN delivery d ON d.event_id = e.id WHERE e.id > $1 AND e.id <= $2 \
        AND e.pruned_at IS NOT NULL)";
    /// Drafts contain data of the payload.
    PRUNE_CONTENTS_OF_PRUNED = "UPDATE plan SET contents = NULL, packed = NULL WHERE event_id > $1 \
        AND event_id <= $2 AND (contents IS NOT NULL OR packed IS NOT NULL) AND EXISTS (SELECT 1 FROM event e \
        WHERE e.id = plan.event_id AND e.pruned_at IS NOT NULL)";
    PRUNE_ANSWERS_OF_PRUNED = "DELETE FROM module_answer WHERE event_id > $1 AND event_id <= $2 \
        AND EXISTS (SELECT 1 FROM event e WHERE e.id = module_answer.event_id AND e.pruned_at IS NOT NULL)";
    PRUNE_ANSWERS_OF_NONE = "DELETE FROM module_answer WHERE event_id > $1 AND event_id <= $2 \
        AND NOT EXISTS (SELECT 1 FROM event e WHERE e.id = module_answer.event_id)";
    PRUNE_EVENTS_SQLITE = pruned_events!("CAST(event.resource_id AS INTEGER)");
    PRUNE_EVENTS_POSTGRES = pruned_events!(ordinal_postgres!());
    PRUNE_DELETED_RECORDS_SQLITE = pruned_records!("deleted_at < $1", "");
    /// Skips a record for which an event is being captured now.
    PRUNE_DELETED_RECORDS_POSTGRES =
        pruned_records!("deleted_at < $1", " FOR UPDATE SKIP LOCKED");
    /// The next resource that has records, by one index lookup.
    NEXT_RESOURCE = "SELECT resource AS value FROM record WHERE resource > $1 ORDER BY resource LIMIT 1";
    PRUNE_UNCHANGED_RECORDS_SQLITE = pruned_records!(unchanged_before!(), "");
    PRUNE_UNCHANGED_RECORDS_POSTGRES =
        pruned_records!(unchanged_before!(), " FOR UPDATE SKIP LOCKED");
    PRUNE_CHANGED_RECORDS_SQLITE = pruned_records!(changed_before!(), "");
    PRUNE_CHANGED_RECORDS_POSTGRES = pruned_records!(changed_before!(), " FOR UPDATE SKIP LOCKED");
    FORGET_STATE = "DELETE FROM module_state WHERE (flow_id, scope, key) IN (\
        SELECT flow_id, scope, key FROM module_state WHERE expires_at <= $1 LIMIT $2)";
    FORGET_DEDUPE_KEYS = "DELETE FROM dedupe_key WHERE (endpoint_id, key) IN (\
        SELECT endpoint_id, key FROM dedupe_key WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";
    FORGET_CAPTURE_KEYS = "DELETE FROM capture_key WHERE key IN (\
        SELECT key FROM capture_key WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";
}
