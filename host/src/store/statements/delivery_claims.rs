//! Statements that claim, park and release deliveries.

/// Number of deliveries that an ordered claim examines: twice as many as it takes.
macro_rules! claim_window {
    () => {
        "512"
    };
}

/// The due deliveries of an ordered endpoint that a claim examines.
macro_rules! due_window {
    ($endpoint:literal, $now:literal) => {
        concat!(
            "SELECT id, endpoint_id, event_id, order_key, status, due_at FROM delivery \
            WHERE endpoint_id = ",
            $endpoint,
            " AND due_at <= ",
            $now,
            " ORDER BY due_at LIMIT ",
            claim_window!()
        )
    };
}

/// Whether a delivery `d` has to wait for an earlier one of its record, or for the modules of an
/// earlier event.
macro_rules! is_blocked {
    () => {
        "d.order_key IS NOT NULL AND (EXISTS (SELECT 1 FROM delivery p \
        WHERE p.endpoint_id = d.endpoint_id AND p.order_key = d.order_key \
        AND p.due_at IS NOT NULL AND (p.event_id, p.id) < (d.event_id, d.id)) \
        OR EXISTS (SELECT 1 FROM planning q WHERE q.record_key = d.order_key \
        AND q.event_id < d.event_id))"
    };
}

statements! {
    /// The next due time of each endpoint, by one index lookup each.
    NEXT_DUE = "SELECT o.id AS endpoint_id, (SELECT d.due_at FROM delivery d WHERE d.endpoint_id = o.id \
        AND d.due_at IS NOT NULL ORDER BY d.due_at LIMIT 1) AS at FROM object o WHERE o.kind = 'endpoint'";
    /// The next due time of one endpoint.
    NEXT_DUE_AT = "SELECT due_at AS value FROM delivery WHERE endpoint_id = $1 AND due_at IS NOT NULL \
        ORDER BY due_at LIMIT 1";
    CLAIM_SQLITE = "UPDATE delivery SET status = 1 /* leased */, lease = $1, due_at = $2 WHERE id IN (\
        SELECT id FROM delivery WHERE endpoint_id = $3 AND due_at <= $4 ORDER BY due_at LIMIT $5)";
    CLAIM_POSTGRES = "WITH due AS MATERIALIZED (SELECT id FROM delivery WHERE endpoint_id = $3 \
        AND due_at <= $4 ORDER BY due_at LIMIT $5 FOR UPDATE SKIP LOCKED) \
        UPDATE delivery SET status = 1 /* leased */, lease = $1, due_at = $2 FROM due WHERE delivery.id = due.id";
    /// Claims only the first open delivery of each record, and only if no earlier event of the
    /// record still waits for its modules. Examines the first 512 due deliveries.
    CLAIM_ORDERED_SQLITE = concat!(
        "UPDATE delivery SET status = 1 /* leased */, lease = $1, due_at = $2, parked = FALSE \
        WHERE id IN (SELECT d.id FROM (",
        due_window!("$3", "$4"),
        ") d WHERE NOT (",
        is_blocked!(),
        ") ORDER BY d.due_at LIMIT $5)"
    );
    CLAIM_ORDERED_POSTGRES = concat!(
        "WITH seen AS MATERIALIZED (",
        due_window!("$3", "$4"),
        "), due AS MATERIALIZED (SELECT d.id FROM seen JOIN delivery d ON d.id = seen.id \
        WHERE d.due_at <= $4 AND NOT (",
        is_blocked!(),
        ") ORDER BY seen.due_at LIMIT $5 FOR UPDATE OF d SKIP LOCKED) \
        UPDATE delivery SET status = 1 /* leased */, lease = $1, due_at = $2, parked = FALSE \
        FROM due WHERE delivery.id = due.id"
    );
    /// Postpones the blocked deliveries in the window of an ordered claim until the first open one
    /// of their record is due, but at least until `$3` and at most until `$4`.
    PARK_BLOCKED_SQLITE = concat!(
        "UPDATE delivery SET parked = TRUE, due_at = MIN($4, MAX($3, COALESCE((SELECT p.due_at \
        FROM delivery p WHERE p.endpoint_id = delivery.endpoint_id \
        AND p.order_key = delivery.order_key AND p.due_at IS NOT NULL \
        AND (p.event_id, p.id) < (delivery.event_id, delivery.id) \
        ORDER BY p.event_id, p.id LIMIT 1), $3))) WHERE id IN (SELECT d.id FROM (",
        due_window!("$1", "$2"),
        ") d WHERE d.status = 0 /* pending */ AND (",
        is_blocked!(),
        "))"
    );
    /// Locks the delivery behind which each one is parked, so that it is not settled unseen: the
    /// transaction that settles it waits, and then finds the parked one.
    PARK_BLOCKED_POSTGRES = concat!(
        "WITH seen AS MATERIALIZED (",
        due_window!("$1", "$2"),
        " FOR UPDATE SKIP LOCKED), behind AS MATERIALIZED (SELECT s.id, h.due_at FROM seen s \
        CROSS JOIN LATERAL (SELECT p.due_at FROM delivery p WHERE p.endpoint_id = s.endpoint_id \
            AND p.order_key = s.order_key AND p.due_at IS NOT NULL \
            AND (p.event_id, p.id) < (s.event_id, s.id) ORDER BY p.event_id, p.id LIMIT 1 \
            FOR SHARE SKIP LOCKED) h WHERE s.status = 0 /* pending */), \
        blocked AS MATERIALIZED (SELECT id, due_at FROM behind \
            UNION ALL SELECT s.id, $3 FROM seen s WHERE s.status = 0 /* pending */ \
            AND NOT EXISTS (SELECT 1 FROM behind WHERE behind.id = s.id) \
            AND EXISTS (SELECT 1 FROM planning q WHERE q.record_key = s.order_key \
            AND q.event_id < s.event_id)) \
        UPDATE delivery SET parked = TRUE, due_at = LEAST($4, GREATEST($3, blocked.due_at)) \
        FROM blocked WHERE delivery.id = blocked.id"
    );
    /// For an endpoint that no longer keeps order.
    UNPARK_ENDPOINT = "UPDATE delivery SET parked = FALSE, due_at = $2 \
        WHERE endpoint_id = $1 AND due_at IS NOT NULL AND parked";
    /// The next due time of an ordered endpoint, and the due time of the last delivery that a claim
    /// examines.
    NEXT_DUE_IN_ORDER = concat!(
        "SELECT due_at, (SELECT due_at FROM delivery WHERE endpoint_id = $1 \
        AND due_at IS NOT NULL ORDER BY due_at LIMIT 1 OFFSET ",
        claim_window!(),
        ") AS last_at FROM delivery WHERE endpoint_id = $1 AND due_at IS NOT NULL \
        ORDER BY due_at LIMIT 1"
    );
    CLAIMED = "SELECT d.id AS delivery_id, d.flow_id, d.attempts, d.round_from, d.held_since, d.collapse_by, d.collapsed, \
        m.body AS message, m.packed AS packed_message, e.id, e.source, e.event_type, e.resource, e.resource_id, e.external_id, \
        e.occurred_at, e.received_at, e.attributes, e.changes, e.data, e.packed FROM delivery d \
        JOIN event e ON e.id = d.event_id LEFT JOIN message m ON m.delivery_id = d.id \
        WHERE d.endpoint_id = $1 AND d.due_at = $2 AND d.lease = $3 ORDER BY d.id";
    /// Marks the deliveries of an offer, so that [`EXPIRED_OFFERS`] finds them by the index of the
    /// column. It means a hold only for pending deliveries.
    MARK_OFFER = "UPDATE delivery SET held_until = due_at \
        WHERE endpoint_id = $1 AND due_at = $2 AND lease = $3";
    /// The deliveries of an offer.
    OFFERED = "SELECT id, event_id, event_type, attempts, round_from, held_since, lease, due_at \
        FROM delivery WHERE endpoint_id = $1 AND due_at = $2 AND lease = $3 ORDER BY id";
    /// The deliveries of offers that ended without a commit. The token of an offer is negative.
    EXPIRED_OFFERS = "SELECT id, event_id, event_type, attempts, round_from, held_since, lease, due_at \
        FROM delivery WHERE endpoint_id = $1 AND held_until IS NOT NULL AND held_until <= $2 \
        AND status = 1 /* leased */ AND lease < 0 ORDER BY held_until LIMIT $3";
    /// Finds one of the deliveries of a claim.
    FIND_CLAIMED = "SELECT id FROM delivery WHERE endpoint_id = $1 AND due_at = $2 AND lease = $3 LIMIT 1";
    /// Releases all deliveries of a claim. In those of an offer, `held_until` does not mean a hold.
    RELEASE_CLAIM = "UPDATE delivery SET status = 0 /* pending */, lease = NULL, due_at = $4, collapse_key = NULL, \
        held_until = CASE WHEN lease < 0 THEN NULL ELSE held_until END \
        WHERE endpoint_id = $1 AND due_at = $2 AND lease = $3";
    /// A released delivery no longer collapses, because another delivery of its record may be
    /// waiting by now, and only one may.
    RELEASE_REST = "UPDATE delivery SET status = 0 /* pending */, lease = NULL, due_at = $4, collapse_key = NULL \
        WHERE endpoint_id = $1 AND due_at = $2 AND lease = $3 AND id > $5";
    /// The end of each receiver's hold, by one index lookup each.
    SELECT_HOLDS = "SELECT o.id AS endpoint_id, (SELECT d.held_until FROM delivery d \
        WHERE d.endpoint_id = o.id AND d.held_until IS NOT NULL AND d.held_until > $1 \
        AND d.status = 0 /* pending */ ORDER BY d.held_until DESC LIMIT 1) AS at \
        FROM object o WHERE o.kind = 'endpoint'";
    LIFT_HOLD = "UPDATE delivery SET due_at = $2, held_until = NULL \
        WHERE endpoint_id = $1 AND held_until IS NOT NULL AND status = 0 /* pending */";
    /// If `$4` is null, keeps the end of an earlier hold, where the next process reads it.
    RELEASE = "UPDATE delivery SET status = 0 /* pending */, lease = NULL, due_at = $3, collapse_key = NULL, \
        held_until = COALESCE($4, held_until) WHERE id = $1 AND lease = $2";
    RELEASE_NODE = "UPDATE delivery SET status = 0 /* pending */, lease = NULL, due_at = $3, collapse_key = NULL \
        WHERE due_at IS NOT NULL AND lease BETWEEN $1 AND $2";
}
