//! Statements for deliveries and their attempts.

macro_rules! cancelled_now {
    ($now:literal) => {
        concat!(
            "UPDATE delivery SET status = 5 /* cancelled */, due_at = NULL, lease = NULL, \
            settled_at = ",
            $now
        )
    };
}

/// Endpoints with open deliveries, by one index lookup each. The last row is null.
macro_rules! open_endpoints {
    () => {
        "WITH RECURSIVE open_endpoint (id) AS (\
        SELECT (SELECT d.endpoint_id FROM delivery d WHERE d.due_at IS NOT NULL \
            ORDER BY d.endpoint_id LIMIT 1) \
        UNION ALL SELECT (SELECT d.endpoint_id FROM delivery d WHERE d.due_at IS NOT NULL \
            AND d.endpoint_id > open_endpoint.id ORDER BY d.endpoint_id LIMIT 1) \
        FROM open_endpoint WHERE open_endpoint.id IS NOT NULL)"
    };
}

macro_rules! orphans {
    () => {
        "SELECT w.id FROM delivery w WHERE w.due_at IS NOT NULL AND w.endpoint_id IN (\
        SELECT g.id FROM open_endpoint g WHERE NOT EXISTS (\
            SELECT 1 FROM object o WHERE o.kind = 'endpoint' AND o.id = g.id)) LIMIT $2"
    };
}

statements! {
    SUPERSEDE = "UPDATE delivery SET status = 4 /* superseded */, due_at = NULL, settled_at = $3 \
        WHERE endpoint_id = $1 AND collapse_key = $2 AND status = 0 /* pending */ AND attempts = 0 \
        AND event_id <= $4 RETURNING collapsed, collapse_by";
    /// Counts a delivery that came after one of a newer event.
    COUNT_COLLAPSED = "UPDATE delivery SET collapsed = collapsed + 1 \
        WHERE endpoint_id = $1 AND collapse_key = $2 AND status = 0 /* pending */ AND attempts = 0";
    SETTLE_SUPERSEDED = "UPDATE delivery SET status = 4 /* superseded */, due_at = NULL, settled_at = $2 \
        WHERE id = $1";
    SETTLE_DEAD = "UPDATE delivery SET status = 3 /* dead */, due_at = NULL, lease = NULL, settled_at = $3, \
        attempts = $4, held_until = NULL WHERE id = $1 AND lease = $2";
    SELECT_EVENT_DELIVERIES = "SELECT id, event_id, endpoint_id, flow_id, event_type, status, due_at, \
        attempts, created_at, settled_at, collapsed FROM delivery WHERE event_id = $1 ORDER BY id";
    /// Includes the last attempt of each delivery.
    SELECT_PROGRESS = "SELECT d.id, d.endpoint_id, d.status, a.response_status, a.duration_us \
        FROM delivery d LEFT JOIN attempt a ON a.delivery_id = d.id AND a.number = d.attempts \
        WHERE d.event_id = $1";
    SELECT_DELIVERY = "SELECT id, event_id, endpoint_id, flow_id, event_type, status, due_at, \
        attempts, created_at, settled_at, collapsed FROM delivery WHERE id = $1";
    /// Sets the message that a delivery sends from now on instead of its event.
    PUT_MESSAGE = "INSERT INTO message (delivery_id, body) VALUES ($1, $2) \
        ON CONFLICT (delivery_id) DO UPDATE SET body = excluded.body, packed = NULL";
    /// The message that a delivery sends instead of its event.
    DELIVERY_CONTENTS = "SELECT m.body AS message, m.packed AS packed_message, d.collapsed FROM delivery d \
        LEFT JOIN message m ON m.delivery_id = d.id WHERE d.id = $1";
    SELECT_DELIVERIES = "SELECT id, event_id, endpoint_id, flow_id, event_type, status, due_at, \
        attempts, created_at, settled_at, collapsed FROM delivery \
        WHERE id < $1 AND id >= $2 \
        AND (CAST($3 AS TEXT) IS NULL OR endpoint_id = $4) \
        AND (CAST($5 AS SMALLINT) IS NULL OR status = $5) \
        AND (CAST($6 AS TEXT) IS NULL OR event_type = $6) \
        AND (CAST($7 AS BIGINT) IS NULL OR created_at >= $7) \
        AND (CAST($8 AS BIGINT) IS NULL OR created_at < $8) ORDER BY id DESC LIMIT $9";
    SELECT_ATTEMPTS = "SELECT number, at, duration_us, response_status, error_class, error, \
        request_headers, response_headers, packed, response_body FROM attempt WHERE delivery_id = $1 \
        ORDER BY number";
    REPLAY_DELIVERY = "UPDATE delivery SET status = 0 /* pending */, due_at = $2, lease = NULL, settled_at = NULL, \
        round_from = attempts, held_since = NULL, held_until = NULL, collapse_key = NULL \
        WHERE id = $1 AND status IN (2 /* delivered */, 3 /* dead */, 4 /* superseded */, \
            5 /* cancelled */) RETURNING endpoint_id";
    RETRY_NOW = "UPDATE delivery SET due_at = $2 WHERE id = $1 AND status = 0 /* pending */ RETURNING endpoint_id";
    CANCEL_DELIVERY = "UPDATE delivery SET status = 5 /* cancelled */, due_at = NULL, lease = NULL, settled_at = $2 \
        WHERE id = $1 AND status = 0 /* pending */";
    CANCEL_ENDPOINT_SQLITE = concat!(
        cancelled_now!("$2"),
        " WHERE id IN (SELECT id FROM delivery WHERE endpoint_id = $1 AND due_at IS NOT NULL \
        LIMIT $3)"
    );
    /// Skips deliveries that are being settled now. [`CANCEL_ORPHANS_POSTGRES`] cancels them later.
    CANCEL_ENDPOINT_POSTGRES = concat!(
        "WITH waiting AS MATERIALIZED (SELECT id FROM delivery WHERE endpoint_id = $1 \
        AND due_at IS NOT NULL LIMIT $3 FOR UPDATE SKIP LOCKED) ",
        cancelled_now!("$2"),
        " FROM waiting WHERE delivery.id = waiting.id"
    );
    /// For endpoints that are gone: deliveries that exceeded the limit of the deletion, and
    /// deliveries that an earlier capture or plan wrote afterwards.
    CANCEL_ORPHANS_SQLITE =
        concat!(open_endpoints!(), " ", cancelled_now!("$1"), " WHERE id IN (", orphans!(), ")");
    CANCEL_ORPHANS_POSTGRES = concat!(
        open_endpoints!(),
        ", waiting AS MATERIALIZED (",
        orphans!(),
        " FOR UPDATE OF w SKIP LOCKED) ",
        cancelled_now!("$1"),
        " FROM waiting WHERE delivery.id = waiting.id"
    );
}
