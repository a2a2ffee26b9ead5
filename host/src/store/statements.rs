//! Every statement the journal runs. One text for both databases; where they differ there is a
//! pair, named `…_SQLITE` and `…_POSTGRES`.
//!
//! `$n` parameters, times bound by the caller: only one statement asks the database for the time. Statements over many rows are in
//! [`bulks`]. A test prepares each on both databases.

pub mod bulks;

pub use bulks::*;

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*

        /// All of them, for the test that prepares each.
        #[cfg(test)]
        pub const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

pub mod alerts;
pub use alerts::*;

pub mod overviews;
pub use overviews::*;

/// Records of a resource that are there, perhaps of one source, heard of since then. The page is
/// chosen before the events are looked up, so that what is left out costs no look-up. The second
/// form goes on after a position.
macro_rules! records {
    ($order:literal) => {
        records!($order, "")
    };
    ($order:literal, $after:literal) => {
        records!("r.updated_at", $order, $after)
    };
    ($updated:literal, $order:literal, $after:literal) => {
        page_of_records!(
            concat!(
                "SELECT * FROM record r WHERE ",
                listed_records!(),
                " AND ",
                $updated,
                " >= $3",
                $after
            ),
            $order
        )
    };
}

macro_rules! listed_records {
    () => {
        "r.resource = $1 AND r.deleted_at IS NULL AND (CAST($2 AS TEXT) IS NULL OR r.source = $2)"
    };
}

macro_rules! page_of_records {
    ($records:expr, $order:literal) => {
        concat!(
            "SELECT r.resource_id, r.source, r.ordinal, r.created_at, r.updated_at, e.data \
            FROM (",
            $records,
            " ORDER BY ",
            $order,
            " LIMIT $4 OFFSET $5) r JOIN event e ON e.id = r.event_id ORDER BY ",
            $order
        )
    };
}

/// Records heard of since then, in the order of that time. Those that were never changed are not
/// in the index of changed ones: a new record is one index entry less to write, a tenth of all
/// processor time of a batch. So the page is chosen from the best of either kind.
macro_rules! records_by_update {
    ($direction:literal) => {
        records_by_update!($direction, "", "")
    };
    ($direction:literal, $unchanged_after:literal, $changed_after:literal) => {
        concat!(
            "SELECT r.resource_id, r.source, r.ordinal, r.created_at, r.updated_at, e.data \
            FROM (SELECT * FROM (SELECT * FROM record r WHERE ",
            listed_records!(),
            " AND r.updated_at = r.created_at AND r.created_at >= $3",
            $unchanged_after,
            " ORDER BY r.created_at",
            $direction,
            ", ",
            within_one_moment!($direction),
            " LIMIT CAST($4 AS BIGINT) + CAST($5 AS BIGINT)) unchanged \
            UNION ALL SELECT * FROM (SELECT * FROM record r WHERE ",
            listed_records!(),
            " AND r.updated_at <> r.created_at AND r.updated_at >= $3",
            $changed_after,
            " ORDER BY r.updated_at",
            $direction,
            ", ",
            within_one_moment!($direction),
            " LIMIT CAST($4 AS BIGINT) + CAST($5 AS BIGINT)) changed \
            ORDER BY updated_at",
            $direction,
            ", ordinal",
            $direction,
            ", resource_id",
            $direction,
            ", source",
            $direction,
            " LIMIT $4 OFFSET $5) r JOIN event e ON e.id = r.event_id ORDER BY r.updated_at",
            $direction,
            ", ",
            within_one_moment!($direction)
        )
    };
}

macro_rules! within_one_moment {
    ($direction:literal) => {
        concat!("r.ordinal", $direction, ", r.resource_id", $direction, ", r.source", $direction)
    };
}

/// Few records that were heard of since then, put in the order of their creation.
macro_rules! few_records {
    ($after:literal) => {
        concat!(
            "SELECT r.resource_id, r.source, r.ordinal, r.created_at, r.updated_at, e.data \
            FROM (SELECT * FROM (SELECT * FROM record r WHERE ",
            listed_records!(),
            " AND r.updated_at = r.created_at AND r.created_at >= $3 \
            UNION ALL SELECT * FROM record r WHERE ",
            listed_records!(),
            " AND r.updated_at <> r.created_at AND r.updated_at >= $3) r WHERE 1 = 1",
            $after,
            " ORDER BY created_at DESC, ordinal DESC, resource_id DESC, source DESC \
            LIMIT $4 OFFSET $5) r JOIN event e ON e.id = r.event_id \
            ORDER BY r.created_at DESC, ",
            within_one_moment!(" DESC")
        )
    };
}

/// A record's id as a number. What is not a number, or too large for the column, is told apart by the
/// 0 beside it.
macro_rules! ordinal_postgres {
    () => {
        "CASE WHEN event.resource_id ~ '^[+-]?[0-9]{1,255}$' THEN CAST(LEAST(GREATEST( \
        CAST(event.resource_id AS NUMERIC), -9223372036854775808), 9223372036854775807) AS BIGINT) \
        ELSE 0 END"
    };
}

/// Whether an event is needed: its modules wait, it has a dead letter, or it holds the state of a
/// record, which is found by the record's key. `$ordinal` is the event's `resource_id` as a number.
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
            "UPDATE event SET data = 'null', attributes = NULL, changes = NULL, pruned_at = $3 \
            WHERE id > $1 AND id <= $2 AND pruned_at IS NULL AND NOT EXISTS (SELECT 1 \
            FROM delivery d WHERE d.event_id = event.id AND d.due_at IS NOT NULL) AND ",
            needed_by_nobody!($ordinal)
        )
    };
}

macro_rules! cancelled_now {
    ($now:literal) => {
        concat!(
            "UPDATE delivery SET status = 5 /* cancelled */, due_at = NULL, lease = NULL, \
            settled_at = ",
            $now
        )
    };
}

/// Endpoints with open deliveries, by one index look-up each; the last one is null.
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

/// Records that were last heard of before a time, by an index each.
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

/// The lowest id of so many rows, newest first, between two ids.
macro_rules! floor {
    ($table:literal) => {
        concat!(
            "SELECT id AS value FROM ",
            $table,
            " WHERE id < $1 AND id >= $2 ORDER BY id DESC LIMIT 1 OFFSET $3"
        )
    };
}

/// Most deliveries that an ordered claim looks at: twice as many as it takes.
macro_rules! claim_window {
    () => {
        "512"
    };
}

/// What is due at an ordered endpoint, as far as a claim looks.
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
    EVENT_FLOOR = floor!("event");
    DELIVERY_FLOOR = floor!("delivery");
    DEAD_LETTER_FLOOR = floor!("dead_letter");
    CALL_FLOOR = floor!("audit");
    FIND_EVENT = "SELECT id AS value FROM event WHERE id = $1";
    FIND_PLAN = "SELECT event_id AS value FROM plan WHERE event_id = $1 AND flow_id = $2 AND at = $3";
    POSTPONE_PLANNING = "UPDATE planning SET due_at = $1, lease = NULL, attempts = attempts + 1, \
        deaths = 0 WHERE event_id = $2 AND flow_id = $3 AND lease = $4";
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
    UPDATE_DEAD_LETTER = "UPDATE dead_letter SET reason = $1, detail = $2, created_at = $3, \
        replayed_at = NULL WHERE (delivery_id = $5) \
        OR (delivery_id IS NULL AND CAST($5 AS TEXT) IS NULL AND event_id = $4 AND flow_id = $6)";
    INSERT_DEAD_LETTER = "INSERT INTO dead_letter (id, event_id, event_type, delivery_id, \
        endpoint_id, flow_id, reason, detail, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

    /// When each endpoint has something due, by one index look-up each.
    NEXT_DUE = "SELECT o.id AS endpoint_id, (SELECT d.due_at FROM delivery d WHERE d.endpoint_id = o.id \
        AND d.due_at IS NOT NULL ORDER BY d.due_at LIMIT 1) AS at FROM object o WHERE o.kind = 'endpoint'";
    /// What is left due at one endpoint.
    NEXT_DUE_AT = "SELECT due_at AS value FROM delivery WHERE endpoint_id = $1 AND due_at IS NOT NULL \
        ORDER BY due_at LIMIT 1";
    CLAIM_SQLITE = "UPDATE delivery SET status = 1 /* leased */, lease = $1, due_at = $2 WHERE id IN (\
        SELECT id FROM delivery WHERE endpoint_id = $3 AND due_at <= $4 ORDER BY due_at LIMIT $5)";
    CLAIM_POSTGRES = "WITH due AS MATERIALIZED (SELECT id FROM delivery WHERE endpoint_id = $3 \
        AND due_at <= $4 ORDER BY due_at LIMIT $5 FOR UPDATE SKIP LOCKED) \
        UPDATE delivery SET status = 1 /* leased */, lease = $1, due_at = $2 FROM due WHERE delivery.id = due.id";
    /// As above, but only the first open one of each record, and none whose record has an earlier
    /// event that still waits for its modules. Of those due it looks at the first
    /// 512.
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
    /// Postpones what is blocked in the window of an ordered claim: until the first open one of its
    /// record is due, at the earliest to `$3` and at the latest to `$4`.
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
    /// The one that each is parked behind is locked, so that it is not settled unseen: whoever
    /// settles it waits, and then finds what is parked.
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
    /// Of an endpoint that keeps order no more.
    UNPARK_ENDPOINT = "UPDATE delivery SET parked = FALSE, due_at = $2 \
        WHERE endpoint_id = $1 AND due_at IS NOT NULL AND parked";
    /// What is left due at one ordered endpoint, and when the last of a claim's window is.
    NEXT_DUE_IN_ORDER = concat!(
        "SELECT due_at, (SELECT due_at FROM delivery WHERE endpoint_id = $1 \
        AND due_at IS NOT NULL ORDER BY due_at LIMIT 1 OFFSET ",
        claim_window!(),
        ") AS last_at FROM delivery WHERE endpoint_id = $1 AND due_at IS NOT NULL \
        ORDER BY due_at LIMIT 1"
    );
    CLAIMED = "SELECT d.id AS delivery_id, d.attempts, d.round_from, d.held_since, d.collapse_by, d.collapsed, \
        m.body AS message, e.id, e.source, e.event_type, e.resource, e.resource_id, e.external_id, \
        e.occurred_at, e.received_at, e.attributes, e.changes, e.data FROM delivery d \
        JOIN event e ON e.id = d.event_id LEFT JOIN message m ON m.delivery_id = d.id \
        WHERE d.endpoint_id = $1 AND d.due_at = $2 AND d.lease = $3 ORDER BY d.id";
    /// What is given back does not collapse any more: another delivery of its record may wait in its
    /// place by now, and only one may.
    RELEASE_REST = "UPDATE delivery SET status = 0 /* pending */, lease = NULL, due_at = $4, collapse_key = NULL \
        WHERE endpoint_id = $1 AND due_at = $2 AND lease = $3 AND id > $5";
    /// Until when receivers that asked for time are held back, by one index look-up each.
    SELECT_HOLDS = "SELECT o.id AS endpoint_id, (SELECT d.held_until FROM delivery d \
        WHERE d.endpoint_id = o.id AND d.held_until IS NOT NULL AND d.held_until > $1 \
        AND d.status = 0 /* pending */ ORDER BY d.held_until DESC LIMIT 1) AS at \
        FROM object o WHERE o.kind = 'endpoint'";
    LIFT_HOLD = "UPDATE delivery SET due_at = $2, held_until = NULL \
        WHERE endpoint_id = $1 AND held_until IS NOT NULL AND status = 0 /* pending */";
    /// Keeps the end of an earlier hold where `$4` is null: the next process reads it there.
    RELEASE = "UPDATE delivery SET status = 0 /* pending */, lease = NULL, due_at = $3, collapse_key = NULL, \
        held_until = COALESCE($4, held_until) WHERE id = $1 AND lease = $2";
    CLAIM_PLANNING_SQLITE = "UPDATE planning SET lease = $1, due_at = $2 \
        WHERE (event_id, flow_id) IN (SELECT event_id, flow_id FROM planning WHERE flow_id = $5 \
        AND due_at <= $3 AND deaths < 2 ORDER BY due_at LIMIT $4)";
    CLAIM_PLANNING_POSTGRES = "WITH due AS MATERIALIZED (SELECT event_id, flow_id FROM planning \
        WHERE flow_id = $5 AND due_at <= $3 AND deaths < 2 ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED) \
        UPDATE planning SET lease = $1, due_at = $2 FROM due \
        WHERE planning.event_id = due.event_id AND planning.flow_id = due.flow_id";
    CLAIMED_PLANNING = "SELECT p.flow_id, p.attempts, p.deaths, e.id, e.source, e.event_type, e.resource, \
        e.resource_id, e.external_id, e.occurred_at, e.received_at, e.attributes, e.changes, e.data \
        FROM planning p JOIN event e ON e.id = p.event_id WHERE p.due_at = $1 AND p.lease = $2 \
        ORDER BY p.event_id, p.flow_id";
    RELEASE_REST_PLANNING = "UPDATE planning SET lease = NULL, due_at = $3 WHERE due_at = $1 \
        AND lease = $2 AND (event_id > $4 OR (event_id = $4 AND flow_id > $5))";
    PLANNING_IS_DUE = "SELECT due_at AS value FROM planning WHERE flow_id = $1 AND due_at <= $2 AND deaths < 2 LIMIT 1";
    /// Flows with something due, by one index look-up each.
    FLOWS_DUE = "SELECT o.id AS value FROM object o WHERE o.kind = 'flow' AND EXISTS (SELECT 1 FROM planning p \
        WHERE p.flow_id = o.id AND p.due_at <= $1 AND p.deaths < 2)";
    CLAIM_ORPHAN_SQLITE = "UPDATE planning SET lease = $1, due_at = $2 \
        WHERE (event_id, flow_id) IN (SELECT event_id, flow_id FROM planning p WHERE p.due_at <= $3 \
        AND NOT EXISTS (SELECT 1 FROM object o WHERE o.kind = 'flow' AND o.id = p.flow_id) LIMIT 1)";
    CLAIM_ORPHAN_POSTGRES = "WITH due AS MATERIALIZED (SELECT event_id, flow_id FROM planning p \
        WHERE p.due_at <= $3 AND NOT EXISTS (SELECT 1 FROM object o WHERE o.kind = 'flow' \
        AND o.id = p.flow_id) LIMIT 1 FOR UPDATE OF p SKIP LOCKED) \
        UPDATE planning SET lease = $1, due_at = $2 FROM due \
        WHERE planning.event_id = due.event_id AND planning.flow_id = due.flow_id";
    SUSPECT_IS_DUE = "SELECT due_at AS value FROM planning WHERE deaths > 1 AND due_at <= $1 LIMIT 1";
    /// One event under which a process died twice or more; with `$4` = 0 only where no other event
    /// waits.
    CLAIM_SUSPECT_SQLITE = "UPDATE planning SET lease = $1, due_at = $2 \
        WHERE (event_id, flow_id) IN (SELECT event_id, flow_id FROM planning p WHERE p.deaths > 1 AND p.due_at <= $3 \
        AND ($4 > 0 OR NOT EXISTS (SELECT 1 FROM planning q \
        WHERE q.event_id <> p.event_id OR q.flow_id <> p.flow_id)) \
        ORDER BY p.deaths, p.due_at LIMIT 1)";
    CLAIM_SUSPECT_POSTGRES = "WITH due AS MATERIALIZED (SELECT event_id, flow_id FROM planning p \
        WHERE p.deaths > 1 AND p.due_at <= $3 \
        AND ($4 > 0 OR NOT EXISTS (SELECT 1 FROM planning q \
        WHERE q.event_id <> p.event_id OR q.flow_id <> p.flow_id)) \
        ORDER BY p.deaths, p.due_at LIMIT 1 FOR UPDATE OF p SKIP LOCKED) \
        UPDATE planning SET lease = $1, due_at = $2 FROM due \
        WHERE planning.event_id = due.event_id AND planning.flow_id = due.flow_id";
    RELEASE_PLANNING = "UPDATE planning SET lease = NULL, due_at = $4 \
        WHERE event_id = $1 AND flow_id = $2 AND lease = $3";
    PLAN_AGAIN = "INSERT INTO planning (event_id, flow_id, due_at, lease, attempts, record_key) \
        VALUES ($1, $2, $3, NULL, 0, $4) ON CONFLICT (event_id, flow_id) DO NOTHING";

    /// The time that all nodes reckon by. SQLite has one node, which reckons by its own clock.
    DATABASE_TIME_POSTGRES = "SELECT waybill_now() AS value";
    SEEN = "INSERT INTO node (id, seen_at, address, version, started_at, key_mark, skew_us, next_key_mark) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, \
        address = excluded.address, version = excluded.version, started_at = excluded.started_at, \
        key_mark = excluded.key_mark, skew_us = excluded.skew_us, \
        next_key_mark = excluded.next_key_mark";
    SELECT_NODES = "SELECT id, seen_at, address, version, started_at, skew_us FROM node ORDER BY started_at, id";
    NODES_WITH_OTHER_KEY = "SELECT id, seen_at, address, version, started_at, skew_us FROM node \
        WHERE id <> $1 AND key_mark <> $2 AND seen_at >= $3 \
        AND (next_key_mark <> $2) IS NOT FALSE AND (key_mark <> $4) IS NOT FALSE";
    /// Nodes that could not read what is encrypted with the key of that mark.
    NODES_WITHOUT_KEY = "SELECT id, seen_at, address, version, started_at, skew_us FROM node \
        WHERE key_mark <> $1 AND (next_key_mark <> $1) IS NOT FALSE AND seen_at >= $2";
    OTHER_NODES = "SELECT id, seen_at FROM node WHERE id <> $1";
    /// Only if it is described: one that was forgotten, and then proved that it can write, is not.
    SEEN_AGAIN = "UPDATE node SET seen_at = $2, skew_us = $3 WHERE id = $1 AND started_at IS NOT NULL";
    /// Of a node, if there is one of that id, and of nodes that are gone.
    FORGET_SHARES = "DELETE FROM share WHERE node = $1 OR NOT EXISTS (\
        SELECT 1 FROM node n WHERE n.id = share.node)";
    /// Takes `$3` calls of a minute, if so many of `$4` are left. Returns how many were taken by then.
    TAKE_CALLS = "INSERT INTO token_window (token_id, minute, taken) VALUES ($1, $2, $3) \
        ON CONFLICT (token_id) DO UPDATE SET taken = CASE \
        WHEN token_window.minute < excluded.minute THEN excluded.taken \
        ELSE token_window.taken + excluded.taken END, minute = excluded.minute \
        WHERE token_window.minute < excluded.minute OR (token_window.minute = excluded.minute \
        AND token_window.taken + excluded.taken <= $4) RETURNING taken AS value";
    FORGET_NODE = "DELETE FROM node WHERE id = $1";
    FORGET_SILENT_NODE = "DELETE FROM node WHERE id = $1 AND seen_at < $2";
    RELEASE_NODE = "UPDATE delivery SET status = 0 /* pending */, lease = NULL, due_at = $3, collapse_key = NULL \
        WHERE due_at IS NOT NULL AND lease BETWEEN $1 AND $2";
    RELEASE_NODE_PLANNING = "UPDATE planning SET lease = NULL, due_at = $3 \
        WHERE lease BETWEEN $1 AND $2";
    /// As above, of a process that died: any of these may be why.
    RELEASE_LOST_PLANNING = "UPDATE planning SET lease = NULL, due_at = $3, \
        deaths = deaths + 1 WHERE lease BETWEEN $1 AND $2";

    /// By primary keys only: `/readyz` runs it every second, however much waits.
    READ_NEWEST = "SELECT (SELECT received_at FROM event ORDER BY id DESC LIMIT 1), \
        (SELECT created_at FROM delivery ORDER BY id DESC LIMIT 1), \
        (SELECT due_at FROM planning ORDER BY event_id DESC LIMIT 1), \
        (SELECT created_at FROM dead_letter ORDER BY id DESC LIMIT 1)";
    TOPOLOGY_VERSION = "SELECT version AS value FROM topology";
    GROW_TOPOLOGY = "UPDATE topology SET version = version + 1";
    SELECT_OBJECTS = "SELECT id, name, body, sealed, created_at, updated_at FROM object \
        WHERE kind = $1 ORDER BY name";
    UPSERT_OBJECT = "INSERT INTO object (kind, id, name, body, sealed, created_at, updated_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (kind, id) DO UPDATE SET \
        name = excluded.name, body = excluded.body, sealed = excluded.sealed, \
        updated_at = excluded.updated_at";
    /// Only the state that was stored at `$6`.
    UPDATE_OBJECT = "UPDATE object SET name = $3, body = $4, sealed = $5, updated_at = $7 \
        WHERE kind = $1 AND id = $2 AND updated_at = $6";
    DELETE_OBJECT = "DELETE FROM object WHERE kind = $1 AND id = $2";
    CANCEL_ENDPOINT_SQLITE = concat!(
        cancelled_now!("$2"),
        " WHERE id IN (SELECT id FROM delivery WHERE endpoint_id = $1 AND due_at IS NOT NULL \
        LIMIT $3)"
    );
    /// What is being settled at this moment is left to [`CANCEL_ORPHANS_POSTGRES`].
    CANCEL_ENDPOINT_POSTGRES = concat!(
        "WITH waiting AS MATERIALIZED (SELECT id FROM delivery WHERE endpoint_id = $1 \
        AND due_at IS NOT NULL LIMIT $3 FOR UPDATE SKIP LOCKED) ",
        cancelled_now!("$2"),
        " FROM waiting WHERE delivery.id = waiting.id"
    );
    /// Of endpoints that are gone: what was too much for their deletion, and what a capture or a
    /// plan that began before wrote afterwards.
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
    DELETE_FLOW_PLANNING = "DELETE FROM planning WHERE flow_id = $1";
    DELETE_FLOW_STATE = "DELETE FROM module_state WHERE flow_id = $1";
    DELETE_FLOW_CANCEL_KEYS = "DELETE FROM cancel_key WHERE flow_id = $1";

    INSERT_COMPONENT = "INSERT INTO component (sha256, wasm) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    SELECT_COMPONENT = "SELECT wasm AS value FROM component WHERE sha256 = $1";
    LATEST_MODULE = "SELECT MAX(version) AS latest FROM module WHERE name = $1";
    INSERT_MODULE = "INSERT INTO module (id, name, version, sha256, report, active, created_at) \
        VALUES ($1, $2, $3, $4, $5, FALSE, $6)";
    SELECT_MODULES = "SELECT id, name, version, sha256, report, active, approved, created_at FROM module \
        ORDER BY name, version";
    DEACTIVATE_MODULE = "UPDATE module SET active = FALSE WHERE name = $1 AND active";
    ACTIVATE_MODULE = "UPDATE module SET active = TRUE WHERE name = $1 AND version = $2";
    SELECT_MODULE_ANSWERS = "SELECT position, request, answer FROM module_answer \
        WHERE event_id = $1 AND flow_id = $2 ORDER BY position";
    /// Only while the flow's modules are to run on the event.
    UPSERT_MODULE_ANSWER = "INSERT INTO module_answer (event_id, flow_id, position, request, answer, at) \
        SELECT event_id, flow_id, CAST($3 AS INTEGER), CAST($4 AS TEXT), CAST($5 AS TEXT), CAST($6 AS BIGINT) \
        FROM planning WHERE event_id = $1 AND flow_id = $2 \
        ON CONFLICT (event_id, flow_id, position) DO UPDATE SET request = excluded.request, \
        answer = excluded.answer, at = excluded.at";
    APPROVE_MODULE = "UPDATE module SET approved = $3 WHERE name = $1 AND version = $2";

    SELECT_EVENT = "SELECT id, source, event_type, resource, resource_id, external_id, occurred_at, \
        received_at, attributes, changes, data, matched, pruned_at FROM event WHERE id = $1";
    SELECT_EVENTS = "SELECT id, source, event_type, resource, resource_id, external_id, occurred_at, \
        received_at, attributes, changes, data, matched, pruned_at FROM event WHERE id < $1 AND id >= $2 \
        AND (CAST($3 AS TEXT) IS NULL OR event_type = $3) AND (CAST($4 AS TEXT) IS NULL OR source = $4) \
        AND (CAST($5 AS TEXT) IS NULL OR resource = $5) \
        AND (CAST($6 AS TEXT) IS NULL OR resource_id = $6) \
        AND (CAST($7 AS BIGINT) IS NULL OR received_at >= $7) \
        AND (CAST($8 AS BIGINT) IS NULL OR received_at < $8) ORDER BY id DESC LIMIT $9";
    SELECT_PLANS = "SELECT flow_id, at, steps, contents FROM plan WHERE event_id = $1 ORDER BY at, flow_id";
    SELECT_EVENT_PLANNING = "SELECT flow_id, due_at, lease IS NOT NULL AS running, attempts, deaths FROM planning \
        WHERE event_id = $1";
    SELECT_EVENT_DELIVERIES = "SELECT id, event_id, endpoint_id, flow_id, event_type, status, due_at, \
        attempts, created_at, settled_at, collapsed FROM delivery WHERE event_id = $1 ORDER BY id";
    /// With the last attempt of each.
    SELECT_PROGRESS = "SELECT d.id, d.endpoint_id, d.status, a.response_status, a.duration_us \
        FROM delivery d LEFT JOIN attempt a ON a.delivery_id = d.id AND a.number = d.attempts \
        WHERE d.event_id = $1";
    SELECT_DELIVERY = "SELECT id, event_id, endpoint_id, flow_id, event_type, status, due_at, \
        attempts, created_at, settled_at, collapsed FROM delivery WHERE id = $1";
    /// What a delivery sends from now on in the place of its event.
    PUT_MESSAGE = "INSERT INTO message (delivery_id, body) VALUES ($1, $2) \
        ON CONFLICT (delivery_id) DO UPDATE SET body = excluded.body";
    /// What a delivery sends in the place of its event.
    DELIVERY_CONTENTS = "SELECT m.body AS message, d.collapsed FROM delivery d \
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
        request_headers, response_headers, response_body FROM attempt WHERE delivery_id = $1 \
        ORDER BY number";
    REPLAY_DELIVERY = "UPDATE delivery SET status = 0 /* pending */, due_at = $2, lease = NULL, settled_at = NULL, \
        round_from = attempts, held_since = NULL, held_until = NULL, collapse_key = NULL \
        WHERE id = $1 AND status IN (2 /* delivered */, 3 /* dead */, 4 /* superseded */, \
            5 /* cancelled */) RETURNING endpoint_id";
    RETRY_NOW = "UPDATE delivery SET due_at = $2 WHERE id = $1 AND status = 0 /* pending */ RETURNING endpoint_id";
    CANCEL_DELIVERY = "UPDATE delivery SET status = 5 /* cancelled */, due_at = NULL, lease = NULL, settled_at = $2 \
        WHERE id = $1 AND status = 0 /* pending */";
    END_REPLAY = "UPDATE dead_letter SET replayed_at = NULL WHERE delivery_id = $1";
    MARK_REPLAYED = "UPDATE dead_letter SET replayed_at = $2 WHERE delivery_id = $1";
    /// Only one that is there and of which no replay is under way.
    MARK_LETTER_REPLAYED = "UPDATE dead_letter SET replayed_at = $2 \
        WHERE id = $1 AND replayed_at IS NULL";
    END_LETTER_REPLAY = "UPDATE dead_letter SET replayed_at = NULL WHERE id = $1";

    SELECT_DEAD_LETTERS = "SELECT id, event_id, event_type, delivery_id, endpoint_id, flow_id, source_id, \
        list, row_id, row_at, reason, detail, created_at, replayed_at FROM dead_letter d \
        WHERE id < $1 AND id >= $2 \
        AND (CAST($3 AS TEXT) IS NULL OR endpoint_id = $4) \
        AND (CAST($5 AS TEXT) IS NULL OR event_type = $5) \
        AND (CAST($6 AS TEXT) IS NULL OR reason = $6) \
        AND (CAST($7 AS BIGINT) IS NULL OR created_at >= $7) \
        AND (CAST($8 AS BIGINT) IS NULL OR created_at < $8) \
        AND (CAST($9 AS TEXT) IS NULL OR source_id = $10 OR EXISTS (SELECT 1 FROM event e \
            WHERE e.id = d.event_id AND e.source = $9)) \
        AND (CAST($11 AS TEXT) IS NULL OR $11 = CASE WHEN source_id IS NOT NULL THEN 'row' \
            WHEN delivery_id IS NOT NULL THEN 'delivery' ELSE 'event' END) \
        AND (CAST($12 AS SMALLINT) IS NULL OR EXISTS (SELECT 1 FROM delivery v \
            WHERE v.id = d.delivery_id AND v.status = $12)) ORDER BY id DESC LIMIT $13";
    COUNT_DEAD_LETTERS = "SELECT COUNT(*) AS value FROM dead_letter d WHERE replayed_at IS NULL \
        AND (CAST($1 AS TEXT) IS NULL OR endpoint_id = $2) \
        AND (CAST($3 AS TEXT) IS NULL OR event_type = $3) \
        AND (CAST($4 AS TEXT) IS NULL OR reason = $4) \
        AND (CAST($5 AS BIGINT) IS NULL OR created_at >= $5) \
        AND (CAST($6 AS BIGINT) IS NULL OR created_at < $6) \
        AND (CAST($7 AS TEXT) IS NULL OR source_id = $8 OR EXISTS (SELECT 1 FROM event e \
            WHERE e.id = d.event_id AND e.source = $7)) \
        AND (CAST($9 AS TEXT) IS NULL OR $9 = CASE WHEN source_id IS NOT NULL THEN 'row' \
            WHEN delivery_id IS NOT NULL THEN 'delivery' ELSE 'event' END) \
        AND (CAST($10 AS SMALLINT) IS NULL OR EXISTS (SELECT 1 FROM delivery v \
            WHERE v.id = d.delivery_id AND v.status = $10))";
    SELECT_DEAD_LETTER = "SELECT id, event_id, event_type, delivery_id, endpoint_id, flow_id, source_id, \
        list, row_id, row_at, reason, detail, created_at, replayed_at FROM dead_letter WHERE id = $1";
    SELECT_ROW_LETTERS = "SELECT list, row_id, reason, detail, row_at, replayed_at FROM dead_letter \
        WHERE source_id = $1 ORDER BY list, row_id LIMIT $2";
    FORGET_ROW_LETTERS = "DELETE FROM dead_letter WHERE id IN (\
        SELECT id FROM dead_letter WHERE source_id = $1 LIMIT $2)";
    DELETE_DEAD_LETTER = "DELETE FROM dead_letter WHERE id = $1";

    /// Walks the list in its order. The plus sign keeps the planner from finding all records of
    /// that time first, which may be most of them.
    SELECT_RECORDS_CREATED = records!(
        "+r.updated_at",
        "r.created_at DESC, r.ordinal DESC, r.resource_id DESC, r.source DESC",
        ""
    );
    SELECT_RECORDS_CREATED_AFTER = records!(
        "+r.updated_at",
        "r.created_at DESC, r.ordinal DESC, r.resource_id DESC, r.source DESC",
        " AND (r.created_at, r.ordinal, r.resource_id, r.source) < ($9, $6, $7, $8)"
    );
    /// Finds all records of that time and puts them in order: for a few among many.
    SELECT_FEW_RECORDS_CREATED = few_records!("");
    SELECT_FEW_RECORDS_CREATED_AFTER = few_records!(
        " AND (r.created_at, r.ordinal, r.resource_id, r.source) < ($9, $6, $7, $8)"
    );
    SELECT_RECORDS_NEWEST = records_by_update!(" DESC");
    SELECT_RECORDS_NEWEST_AFTER = records_by_update!(
        " DESC",
        " AND (r.created_at, r.ordinal, r.resource_id, r.source) < ($9, $6, $7, $8)",
        " AND (r.updated_at, r.ordinal, r.resource_id, r.source) < ($9, $6, $7, $8)"
    );
    SELECT_RECORDS_OLDEST = records_by_update!("");
    SELECT_RECORDS_OLDEST_AFTER = records_by_update!(
        "",
        " AND (r.created_at, r.ordinal, r.resource_id, r.source) > ($9, $6, $7, $8)",
        " AND (r.updated_at, r.ordinal, r.resource_id, r.source) > ($9, $6, $7, $8)"
    );
    SELECT_RECORDS_BY_ID = records!("r.ordinal, r.resource_id, r.source");
    SELECT_RECORDS_BY_ID_AFTER = records!(
        "r.ordinal, r.resource_id, r.source",
        " AND (r.ordinal, r.resource_id, r.source) > ($6, $7, $8)"
    );
    SELECT_RECORDS_BY_ID_DESCENDING =
        records!("r.ordinal DESC, r.resource_id DESC, r.source DESC");
    SELECT_RECORDS_BY_ID_DESCENDING_AFTER = records!(
        "r.ordinal DESC, r.resource_id DESC, r.source DESC",
        " AND (r.ordinal, r.resource_id, r.source) < ($6, $7, $8)"
    );
    /// The records of one id, one for each source that has it, the one last heard of first.
    SELECT_RECORD = "SELECT r.resource_id, r.source, r.ordinal, r.created_at, r.updated_at, e.data \
        FROM record r JOIN event e ON e.id = r.event_id WHERE r.resource = $1 AND r.ordinal = $2 \
        AND r.resource_id = $3 AND r.deleted_at IS NULL \
        AND (CAST($4 AS TEXT) IS NULL OR r.source = $4) ORDER BY r.updated_at DESC LIMIT $5";
    /// Records whose field had this value when it was indexed.
    FIND_RECORDS_BY_FIELD = "SELECT r.resource_id, r.source, r.ordinal, r.created_at, r.updated_at, e.data \
        FROM record_field f JOIN record r ON r.resource = f.resource AND r.ordinal = f.ordinal \
        AND r.resource_id = f.resource_id AND r.source = f.source JOIN event e ON e.id = r.event_id \
        WHERE f.resource = $1 AND f.field = $2 AND f.value = $3 AND f.source = $4 \
        AND r.deleted_at IS NULL ORDER BY r.updated_at DESC LIMIT $5";
    SELECT_INDEXES = "SELECT resource, field FROM record_index";
    IS_INDEXED = "SELECT filled_at AS value FROM record_index WHERE resource = $1 AND field = $2";
    PUT_INDEX = "INSERT INTO record_index (resource, field, filled_at) VALUES ($1, $2, $3) \
        ON CONFLICT DO NOTHING";
    DELETE_INDEX = "DELETE FROM record_index WHERE resource = $1 AND field = $2";
    DELETE_INDEX_ROWS = "DELETE FROM record_field WHERE resource = $1 AND field = $2";
    /// Of records that are gone. The number of rows is bounded, the time is not looked at.
    FORGET_RECORD_FIELDS = "DELETE FROM record_field WHERE (resource, field, ordinal, resource_id, source) IN (\
        SELECT f.resource, f.field, f.ordinal, f.resource_id, f.source FROM record_field f \
        WHERE CAST($1 AS BIGINT) > 0 AND NOT EXISTS (SELECT 1 FROM record r WHERE r.resource = f.resource \
            AND r.ordinal = f.ordinal AND r.resource_id = f.resource_id AND r.source = f.source) LIMIT $2)";
    COUNT_DELETED_RECORDS = "SELECT COUNT(*) AS value FROM (SELECT 1 FROM record WHERE deleted_at >= $1 \
        AND resource = $2 AND (CAST($3 AS TEXT) IS NULL OR source = $3) LIMIT $4) AS counted";
    COUNT_RECORDS = concat!(
        "SELECT COUNT(*) AS value FROM (SELECT 1 FROM (SELECT r.created_at FROM record r WHERE ",
        listed_records!(),
        " AND r.updated_at = r.created_at AND r.created_at >= $3 \
        UNION ALL SELECT r.created_at FROM record r WHERE ",
        listed_records!(),
        " AND r.updated_at <> r.created_at AND r.updated_at >= $3) heard LIMIT $4) AS counted"
    );
    SELECT_CALLS = "SELECT id, token_id, address, method, route, status, duration_us, calls FROM audit \
        WHERE id < $1 AND id >= $2 AND (CAST($3 AS TEXT) IS NULL OR token_id = $4) \
        AND (CAST($5 AS TEXT) IS NULL OR address = $5) AND (CAST($6 AS TEXT) IS NULL OR method = $6) \
        AND (CAST($7 AS TEXT) IS NULL OR route = $7) \
        AND (CAST($8 AS SMALLINT) IS NULL OR status BETWEEN $8 AND $9) ORDER BY id DESC LIMIT $10";
    SELECT_TOKEN_USAGES = "SELECT token_id, window_began, calls, last_used_at FROM token_usage";
    DELETE_TOKEN_WINDOW = "DELETE FROM token_window WHERE token_id = $1";
    DELETE_TOKEN_USAGE = "DELETE FROM token_usage WHERE token_id = $1";
    FORGET_CALLS = "DELETE FROM audit WHERE id IN \
        (SELECT id FROM audit WHERE id < $1 ORDER BY id LIMIT $2)";
    SELECT_SOURCE_STATES = "SELECT source_id, node, requested_at, started_at, memory, report \
        FROM source_state";
    /// Sources that nobody runs and that are in no settings. Objects are looked at by their ids,
    /// because a node of an older version cannot read all of them.
    SELECT_DELETED_SOURCES = "SELECT s.source_id AS value FROM source_state s WHERE s.node IS NULL \
        AND NOT EXISTS (SELECT 1 FROM object o WHERE o.kind = 'source' AND o.id = s.source_id)";
    /// Only what nobody runs, and nobody has run since it was looked at.
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
    /// The last id of a window of so many rows, if there are more.
    EVENT_WINDOW = "SELECT id AS value FROM event WHERE id > $1 AND id < $2 ORDER BY id LIMIT 1 OFFSET $3";
    DELIVERY_WINDOW =
        "SELECT id AS value FROM delivery WHERE id > $1 AND id < $2 ORDER BY id LIMIT 1 OFFSET $3";
    DEAD_LETTER_WINDOW =
        "SELECT id AS value FROM dead_letter WHERE id > $1 AND id < $2 ORDER BY id LIMIT 1 OFFSET $3";
    ATTEMPT_WINDOW = "SELECT delivery_id AS value FROM attempt WHERE delivery_id > $1 AND delivery_id < $2 \
        ORDER BY delivery_id LIMIT 1 OFFSET $3";
    PLAN_WINDOW = "SELECT event_id AS value FROM plan WHERE event_id > $1 AND event_id < $2 \
        ORDER BY event_id LIMIT 1 OFFSET $3";
    /// But for those whose replay is under way.
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
    /// After [`PRUNE_PAYLOADS_SQLITE`]: a delivery without its message would send the event itself,
    /// so both go together.
    PRUNE_MESSAGES_OF_PRUNED = "DELETE FROM message WHERE delivery_id IN (SELECT d.id FROM event e \
        JOIN delivery d ON d.event_id = e.id WHERE e.id > $1 AND e.id <= $2 \
        AND e.pruned_at IS NOT NULL)";
    /// Drafts hold what the payload held.
    PRUNE_CONTENTS_OF_PRUNED = "UPDATE plan SET contents = NULL WHERE event_id > $1 \
        AND event_id <= $2 AND contents IS NOT NULL AND EXISTS (SELECT 1 FROM event e \
        WHERE e.id = plan.event_id AND e.pruned_at IS NOT NULL)";
    PRUNE_ANSWERS_OF_PRUNED = "DELETE FROM module_answer WHERE event_id > $1 AND event_id <= $2 \
        AND EXISTS (SELECT 1 FROM event e WHERE e.id = module_answer.event_id AND e.pruned_at IS NOT NULL)";
    PRUNE_ANSWERS_OF_NONE = "DELETE FROM module_answer WHERE event_id > $1 AND event_id <= $2 \
        AND NOT EXISTS (SELECT 1 FROM event e WHERE e.id = module_answer.event_id)";
    PRUNE_EVENTS_SQLITE = pruned_events!("CAST(event.resource_id AS INTEGER)");
    PRUNE_EVENTS_POSTGRES = pruned_events!(ordinal_postgres!());
    PRUNE_DELETED_RECORDS_SQLITE = pruned_records!("deleted_at < $1", "");
    /// A record that is being captured anew at this moment is left alone.
    PRUNE_DELETED_RECORDS_POSTGRES =
        pruned_records!("deleted_at < $1", " FOR UPDATE SKIP LOCKED");
    /// The first resource of records after this one: each is found by a look-up in an index.
    NEXT_RESOURCE = "SELECT resource AS value FROM record WHERE resource > $1 ORDER BY resource LIMIT 1";
    PRUNE_UNCHANGED_RECORDS_SQLITE = pruned_records!(unchanged_before!(), "");
    PRUNE_UNCHANGED_RECORDS_POSTGRES =
        pruned_records!(unchanged_before!(), " FOR UPDATE SKIP LOCKED");
    PRUNE_CHANGED_RECORDS_SQLITE = pruned_records!(changed_before!(), "");
    PRUNE_CHANGED_RECORDS_POSTGRES = pruned_records!(changed_before!(), " FOR UPDATE SKIP LOCKED");
    PAYLOAD_PRUNED = "SELECT received_at, pruned_at FROM event WHERE id = $1 \
        AND pruned_at IS NOT NULL";

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
    /// How many rows and dead letters of them a source keeps there.
    COUNT_KEPT_ROWS = "SELECT (SELECT COUNT(*) FROM source_row WHERE source_id = $1 \
        AND row_key = $2 AND (list = $3 OR (CAST($4 AS SMALLINT) = 0 \
            AND substr(list, 1, length($3)) = $3))) + (SELECT COUNT(*) FROM dead_letter \
        WHERE source_id = $1 AND row_id = $5 AND list = $6) AS value";
    /// Dead letters of a row that a source could not read or tell.
    ERASE_ROW_LETTERS = "DELETE FROM dead_letter WHERE source_id = $1 AND row_id = $2 AND list = $3";
    /// The first list of a source after this one: each is found by a look-up in an index.
    NEXT_SOURCE_LIST = "SELECT list AS value FROM source_row WHERE source_id = $1 AND list > $2 \
        ORDER BY list LIMIT 1";
    ERASE_PLANNING = "DELETE FROM planning WHERE event_id = $1";
    ERASE_PLANS = "DELETE FROM plan WHERE event_id = $1";
    ERASE_MODULE_ANSWERS = "DELETE FROM module_answer WHERE event_id = $1";
    ERASE_DEAD_LETTERS = "DELETE FROM dead_letter WHERE event_id = $1";
    ERASE_MESSAGES =
        "DELETE FROM message WHERE delivery_id IN (SELECT id FROM delivery WHERE event_id = $1)";
    /// A key may name a person.
    ERASE_DEDUPE_KEYS = "DELETE FROM dedupe_key WHERE (endpoint_id, key) IN (\
        SELECT endpoint_id, dedupe_key FROM delivery WHERE event_id = $1 AND dedupe_key IS NOT NULL)";
    /// As may the name under which a delivery can be cancelled.
    ERASE_CANCEL_KEYS = "DELETE FROM cancel_key WHERE delivery_id IN (\
        SELECT id FROM delivery WHERE event_id = $1)";
    /// What was written under an event, unless it is a number, which names nobody.
    ERASE_STATE_OF_EVENT = "DELETE FROM module_state WHERE event_id = $1 \
        AND substr(value, 1, 1) NOT IN ('-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9')";
    /// Of a record whose source is not known the scope ends like this.
    ERASE_STATE_OF_RECORD = "DELETE FROM module_state WHERE scope <> '' AND (scope = $1 \
        OR (CAST($2 AS TEXT) IS NOT NULL AND substr(scope, length(scope) - length($2) + 1) = $2))";
    ERASE_ATTEMPTS =
        "DELETE FROM attempt WHERE delivery_id IN (SELECT id FROM delivery WHERE event_id = $1)";
    ERASE_DELIVERIES = "DELETE FROM delivery WHERE event_id = $1";
    ERASE_EVENT = "DELETE FROM event WHERE id = $1";

    SELECT_STATE = "SELECT value, expires_at FROM module_state \
        WHERE flow_id = $1 AND scope = $2 AND key = $3";
    COUNT_STATE = "SELECT COUNT(*) AS value FROM (\
        SELECT 1 FROM module_state WHERE flow_id = $1 LIMIT $2) AS counted";

    FORGET_STATE = "DELETE FROM module_state WHERE (flow_id, scope, key) IN (\
        SELECT flow_id, scope, key FROM module_state WHERE expires_at <= $1 LIMIT $2)";
    COUNTERS_OF_MODULE = "SELECT name, value FROM module_counter WHERE module = $1 ORDER BY name";

    FORGET_DEDUPE_KEYS = "DELETE FROM dedupe_key WHERE (endpoint_id, key) IN (\
        SELECT endpoint_id, key FROM dedupe_key WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";
    FORGET_CAPTURE_KEYS = "DELETE FROM capture_key WHERE key IN (\
        SELECT key FROM capture_key WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::delivery::DeliveryStatus;
    use crate::store::StoreOpening;
    use crate::store::db::pool::tests::postgres_url;
    use crate::store::db::{DatabasePool, sqlite_connection};
    use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr as _};

    /// Every statement that is one text.
    fn every_plain() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        ALL.iter().chain(overviews::ALL).chain(alerts::ALL)
    }

    #[tokio::test]
    async fn every_statement_prepares_on_sqlite() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("w.db");
        let url = format!("sqlite:{}", path.display());
        let _pool = DatabasePool::open(&url, StoreOpening::default()).await.unwrap();
        let db = sqlite_connection::open_reader(&path).unwrap();
        let plain = every_plain().filter(|(name, _)| !name.ends_with("_POSTGRES"));
        let plain = plain.map(|(name, text)| (*name, (*text).to_owned()));
        let bulks = BULKS.iter().map(|(name, bulk)| (*name, bulk.one.clone()));
        for (name, text) in plain.chain(bulks) {
            let prepared = db.prepare(&text);
            assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
        }
    }

    /// Sorting a table reads all of it.
    #[tokio::test]
    async fn readiness_sorts_no_table() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("w.db");
        let url = format!("sqlite:{}", path.display());
        let _pool = DatabasePool::open(&url, StoreOpening::default()).await.unwrap();
        let db = sqlite_connection::open_reader(&path).unwrap();
        let mut explain = db.prepare(&format!("EXPLAIN QUERY PLAN {READ_NEWEST}")).unwrap();
        let steps = explain.query_map([], |row| row.get::<_, String>("detail")).unwrap();
        let steps: Vec<String> = steps.collect::<Result<_, _>>().unwrap();
        assert!(
            !steps.is_empty() && steps.iter().all(|step| !step.contains("B-TREE")),
            "{steps:?}"
        );
    }

    #[tokio::test]
    async fn every_statement_prepares_on_postgresql() {
        let Some(url) = postgres_url().await else { return };
        let _pool = DatabasePool::open(&url, StoreOpening::default()).await.unwrap();
        let mut db = sqlx::PgConnection::connect(&url).await.unwrap();
        let plain = every_plain().filter(|(name, _)| !name.ends_with("_SQLITE"));
        let plain = plain.map(|(name, text)| (*name, (*text).to_owned()));
        let bulks = BULKS.iter().map(|(name, bulk)| (*name, bulk.all.clone()));
        let capture = ("CAPTURE_POSTGRES", CAPTURE_POSTGRES.text.clone());
        for (name, text) in plain.chain(bulks).chain([capture]) {
            let prepared = db.prepare(AssertSqlSafe(text).into_sql_str()).await;
            assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
        }
    }

    /// A delivery's status is a number in the table. A statement that names one says beside it what
    /// the number means.
    #[test]
    fn every_status_in_a_statement_is_named() {
        let statuses = [
            DeliveryStatus::Pending,
            DeliveryStatus::Leased,
            DeliveryStatus::Delivered,
            DeliveryStatus::Dead,
            DeliveryStatus::Superseded,
            DeliveryStatus::Cancelled,
        ];
        let named = |status: DeliveryStatus| format!("{} /* {} */", status.code(), status.as_str());
        let named: Vec<String> = statuses.into_iter().map(named).collect();
        let plain = every_plain().map(|(name, text)| (*name, (*text).to_owned()));
        let bulks = BULKS.iter().map(|(name, bulk)| (*name, bulk.one.clone()));
        for (name, text) in plain.chain(bulks) {
            for place in text.split("status = ").skip(1) {
                let is_number = place.starts_with(|c: char| c.is_ascii_digit());
                let is_named = named.iter().any(|status| place.starts_with(status.as_str()));
                assert!(!is_number || is_named, "{name}: status = {place}");
            }
        }
    }
}
