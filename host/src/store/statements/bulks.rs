//! Statements over many rows, and the columns that they write.

use crate::store::db::bound_value::ColumnKind;
use crate::store::db::bound_value::ColumnKind::{Big, Bytes, Id, Int, Small, Text};
use crate::store::db::{BulkInserts, BulkStatement};
use crate::store::periods::REPEATS_RECOGNISED_FOR;
use std::sync::LazyLock;

macro_rules! bulks {
    ($($(#[$doc:meta])* $name:ident = $bulk:expr;)*) => {
        $($(#[$doc])* pub static $name: LazyLock<BulkStatement> = LazyLock::new(|| $bulk);)*

        /// All bulk statements, for the test that prepares each.
        #[cfg(test)]
        pub static BULKS: &[(&str, &LazyLock<BulkStatement>)] = &[$((stringify!($name), &$name)),*];
    };
}

const DELIVERY: &[(&str, ColumnKind)] = &[
    ("id", Id),
    ("event_id", Id),
    ("endpoint_id", Id),
    ("flow_id", Id),
    ("event_type", Text),
    ("status", Small),
    ("due_at", Big),
    ("lease", Big),
    ("attempts", Int),
    ("round_from", Int),
    ("created_at", Big),
    ("order_key", Text),
    ("collapse_key", Text),
    ("collapse_by", Big),
    ("collapsed", Int),
    ("dedupe_key", Text),
];

const DEDUPE_KEY: &[(&str, ColumnKind)] = &[
    ("endpoint_id", Id),
    ("key", Text),
    ("delivery_id", Id),
    ("taken_at", Big),
    ("expires_at", Big),
];

const EVENT: &[(&str, ColumnKind)] = &[
    ("id", Id),
    ("source", Text),
    ("event_type", Text),
    ("resource", Text),
    ("resource_id", Text),
    ("external_id", Text),
    ("occurred_at", Big),
    ("received_at", Big),
    ("attributes", Text),
    ("changes", Text),
    ("data", Text),
    ("packed", Bytes),
    ("matched", Small),
];

const CALL: &[(&str, ColumnKind)] = &[
    ("id", Id),
    ("token_id", Id),
    ("address", Text),
    ("method", Text),
    ("route", Text),
    ("status", Small),
    ("duration_us", Big),
    ("calls", Int),
];

const TOKEN_USAGE: &[(&str, ColumnKind)] =
    &[("token_id", Id), ("window_began", Big), ("calls", Int), ("last_used_at", Big)];

const SOURCE_ROW: &[(&str, ColumnKind)] = &[
    ("source_id", Id),
    ("list", Text),
    ("row_key", Big),
    ("hash", Bytes),
    ("revision", Int),
    ("marks", Text),
    ("cells", Text),
];

const ROW_LETTER: &[(&str, ColumnKind)] = &[
    ("id", Id),
    ("source_id", Id),
    ("list", Text),
    ("row_id", Text),
    ("row_at", Big),
    ("reason", Text),
    ("detail", Text),
    ("created_at", Big),
    ("content", Text),
];

const RECORD: &[(&str, ColumnKind)] = &[
    ("resource", Text),
    ("ordinal", Big),
    ("resource_id", Text),
    ("source", Text),
    ("event_id", Id),
    ("whole", Small),
    ("created_at", Big),
    ("updated_at", Big),
    ("deleted_at", Big),
];

const RECORD_FIELD: &[(&str, ColumnKind)] = &[
    ("resource", Text),
    ("field", Text),
    ("ordinal", Big),
    ("resource_id", Text),
    ("source", Text),
    ("value", Text),
    ("whole", Small),
];

/// An event that holds little more than the record's id does not change the known state, and the
/// time of the first event stays. A record that reappears after its deletion is a new one: a client
/// that reads the newest records first would never see it at its old position.
const RECORD_AGAIN: &str = "ON CONFLICT (resource, ordinal, resource_id, source) DO UPDATE SET \
    event_id = CASE WHEN excluded.whole >= record.whole \
    OR (record.deleted_at IS NOT NULL AND excluded.deleted_at IS NULL) THEN excluded.event_id \
    ELSE record.event_id END, whole = CASE WHEN excluded.whole >= record.whole \
    OR (record.deleted_at IS NOT NULL AND excluded.deleted_at IS NULL) THEN excluded.whole \
    ELSE record.whole END, \
    created_at = CASE WHEN record.deleted_at IS NOT NULL AND excluded.deleted_at IS NULL \
    THEN excluded.created_at ELSE record.created_at END, \
    updated_at = excluded.updated_at, deleted_at = excluded.deleted_at";

/// Events, their records and their deliveries, for captures that need nothing else.
pub static CAPTURE_POSTGRES: LazyLock<BulkInserts> = LazyLock::new(|| {
    BulkInserts::of(&[
        ("event", EVENT, ""),
        ("record", RECORD, RECORD_AGAIN),
        ("delivery", DELIVERY, ""),
    ])
});

const PLANNING: &[(&str, ColumnKind)] = &[
    ("event_id", Id),
    ("flow_id", Id),
    ("due_at", Big),
    ("lease", Big),
    ("attempts", Int),
    ("record_key", Text),
];

const MODULE_STATE: &[(&str, ColumnKind)] = &[
    ("flow_id", Id),
    ("scope", Text),
    ("key", Text),
    ("value", Text),
    ("expires_at", Big),
    ("event_id", Id),
];

const ATTEMPT: &[(&str, ColumnKind)] = &[
    ("delivery_id", Id),
    ("number", Int),
    ("at", Big),
    ("duration_us", Big),
    ("response_status", Small),
    ("error_class", Text),
    ("error", Text),
    ("request_headers", Text),
    ("response_headers", Text),
    ("packed", Bytes),
    ("response_body", Bytes),
];

bulks! {
    INSERT_EVENT = BulkStatement::insert("event", EVENT, "");
    INSERT_PLANNING = BulkStatement::insert("planning", PLANNING, "");
    /// Inserts a capture key, replacing an expired one. Callers compare the affected-row count;
    /// with `RETURNING`, SQLite would build a temporary table per execution.
    INSERT_CAPTURE_KEY = BulkStatement::insert(
        "capture_key",
        &[("key", Bytes), ("event_id", Id), ("expires_at", Big)],
        &format!(
            "ON CONFLICT (key) DO UPDATE SET event_id = excluded.event_id, \
                expires_at = excluded.expires_at \
                WHERE capture_key.expires_at <= excluded.expires_at - {}",
            REPEATS_RECOGNISED_FOR.as_micros()
        ),
    );
    SELECT_CAPTURE_KEY = BulkStatement::of(
        "SELECT key, event_id, expires_at FROM capture_key WHERE key = ?1",
        "SELECT key, event_id, expires_at FROM capture_key WHERE key = ANY($1::bytea[])",
        &[Bytes],
    );
    INSERT_DELIVERY = BulkStatement::insert("delivery", DELIVERY, "");
    /// Takes free keys: new, expired, or held by a delivery that is dead or cancelled.
    TAKE_DEDUPE_KEY = BulkStatement::insert(
        "dedupe_key",
        DEDUPE_KEY,
        "ON CONFLICT (endpoint_id, key) DO UPDATE SET delivery_id = excluded.delivery_id, \
            taken_at = excluded.taken_at, expires_at = excluded.expires_at \
            WHERE dedupe_key.expires_at <= excluded.taken_at OR EXISTS (SELECT 1 FROM delivery d \
            WHERE d.id = dedupe_key.delivery_id AND d.status IN (3 /* dead */, 5 /* cancelled */)) \
            RETURNING endpoint_id, key",
    );
    DEDUPE_KEY_HOLDERS = BulkStatement::of(
        "SELECT endpoint_id, key, delivery_id FROM dedupe_key WHERE endpoint_id = ?1 AND key = ?2",
        "SELECT k.endpoint_id, k.key, k.delivery_id \
            FROM UNNEST($1::uuid[], $2::text[]) AS v (endpoint_id, key) \
            JOIN dedupe_key k ON k.endpoint_id = v.endpoint_id AND k.key = v.key",
        &[Id, Text],
    );
    INSERT_MESSAGE = BulkStatement::insert(
        "message",
        &[("delivery_id", Id), ("body", Text), ("packed", Bytes)],
        "",
    );
    INSERT_PLAN = BulkStatement::insert(
        "plan",
        &[("event_id", Id), ("flow_id", Id), ("at", Big), ("steps", Text), ("contents", Text), ("packed", Bytes)],
        "",
    );
    DELETE_PLANNING = BulkStatement::of(
        "DELETE FROM planning WHERE event_id = ?1 AND flow_id = ?2 AND lease = ?3 \
            RETURNING event_id, flow_id",
        "DELETE FROM planning p \
            USING UNNEST($1::uuid[], $2::uuid[], $3::bigint[]) AS v (event_id, flow_id, lease) \
            WHERE p.event_id = v.event_id AND p.flow_id = v.flow_id AND p.lease = v.lease \
            RETURNING p.event_id, p.flow_id",
        &[Id, Id, Big],
    );
    /// Locks plannings that are still held until the end of the transaction.
    HELD_PLANNINGS = BulkStatement::of(
        "SELECT event_id, flow_id FROM planning WHERE event_id = ?1 AND flow_id = ?2 AND lease = ?3",
        "SELECT p.event_id, p.flow_id \
            FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[]) AS v (event_id, flow_id, lease) \
            JOIN planning p ON p.event_id = v.event_id AND p.flow_id = v.flow_id \
            AND p.lease = v.lease FOR UPDATE OF p",
        &[Id, Id, Big],
    );
    READ_STATE = BulkStatement::of(
        "SELECT flow_id, scope, key, value, expires_at FROM module_state \
            WHERE flow_id = ?1 AND scope = ?2 AND key = ?3",
        "SELECT s.flow_id, s.scope, s.key, s.value, s.expires_at \
            FROM UNNEST($1::uuid[], $2::text[], $3::text[]) AS v (flow_id, scope, key) \
            JOIN module_state s ON s.flow_id = v.flow_id AND s.scope = v.scope AND s.key = v.key",
        &[Id, Text, Text],
    );
    PUT_STATE = BulkStatement::insert(
        "module_state",
        MODULE_STATE,
        "ON CONFLICT (flow_id, scope, key) DO UPDATE SET value = excluded.value, \
            expires_at = excluded.expires_at, event_id = excluded.event_id",
    );
    DELETE_STATE = BulkStatement::of(
        "DELETE FROM module_state WHERE flow_id = ?1 AND scope = ?2 AND key = ?3",
        "DELETE FROM module_state s \
            USING UNNEST($1::uuid[], $2::text[], $3::text[]) AS v (flow_id, scope, key) \
            WHERE s.flow_id = v.flow_id AND s.scope = v.scope AND s.key = v.key",
        &[Id, Text, Text],
    );
    ADD_TO_COUNTER = BulkStatement::insert(
        "module_counter",
        &[("module", Text), ("name", Text), ("value", Big)],
        "ON CONFLICT (module, name) DO UPDATE SET value = module_counter.value + excluded.value",
    );
    /// Cancels the waiting deliveries with a name. Deliveries that are being sent are not changed.
    CANCEL_NAMED = BulkStatement::of(
        "UPDATE delivery SET status = 5 /* cancelled */, due_at = NULL, lease = NULL, \
            settled_at = ?3 WHERE status = 0 /* pending */ AND id IN (\
            SELECT delivery_id FROM cancel_key WHERE flow_id = ?1 AND key = ?2)",
        "UPDATE delivery d SET status = 5 /* cancelled */, due_at = NULL, lease = NULL, \
            settled_at = v.at FROM UNNEST($1::uuid[], $2::text[], $3::bigint[]) \
            AS v (flow_id, key, at) JOIN cancel_key c ON c.flow_id = v.flow_id AND c.key = v.key \
            WHERE d.id = c.delivery_id AND d.status = 0 /* pending */",
        &[Id, Text, Big],
    );
    DELETE_CANCEL_KEYS = BulkStatement::of(
        "DELETE FROM cancel_key WHERE flow_id = ?1 AND key = ?2",
        "DELETE FROM cancel_key c USING UNNEST($1::uuid[], $2::text[]) AS v (flow_id, key) \
            WHERE c.flow_id = v.flow_id AND c.key = v.key",
        &[Id, Text],
    );
    INSERT_CANCEL_KEY = BulkStatement::insert(
        "cancel_key",
        &[("delivery_id", Id), ("flow_id", Id), ("key", Text)],
        "",
    );
    /// Finds the events that are stored.
    STORED_EVENTS = BulkStatement::of(
        "SELECT id FROM event WHERE id = ?1",
        "SELECT id FROM event WHERE id = ANY($1::uuid[])",
        &[Id],
    );
    DELETE_PLAN_DEAD_LETTER = BulkStatement::of(
        "DELETE FROM dead_letter WHERE delivery_id IS NULL AND event_id = ?1 AND flow_id = ?2",
        "DELETE FROM dead_letter d USING UNNEST($1::uuid[], $2::uuid[]) AS v (event_id, flow_id) \
            WHERE d.delivery_id IS NULL AND d.event_id = v.event_id AND d.flow_id = v.flow_id",
        &[Id, Id],
    );
    INSERT_ATTEMPT = BulkStatement::insert("attempt", ATTEMPT, "ON CONFLICT DO NOTHING");
    /// Changes the delivery only if the lease is still valid.
    SETTLE = BulkStatement::of(
        "UPDATE delivery SET status = ?3, due_at = ?4, lease = NULL, settled_at = ?5, \
            attempts = ?6, round_from = ?7, held_since = ?8, held_until = ?9 \
            WHERE id = ?1 AND lease = ?2",
        "UPDATE delivery d SET status = v.status, due_at = v.due_at, lease = NULL, \
            settled_at = v.settled_at, attempts = v.attempts, round_from = v.round_from, \
            held_since = v.held_since, held_until = v.held_until \
            FROM UNNEST($1::uuid[], $2::bigint[], $3::smallint[], $4::bigint[], $5::bigint[], \
            $6::integer[], $7::integer[], $8::bigint[], $9::bigint[]) \
            AS v (id, lease, status, due_at, settled_at, attempts, round_from, held_since, held_until) \
            WHERE d.id = v.id AND d.lease = v.lease",
        &[Id, Big, Small, Big, Big, Int, Int, Big, Big],
    );
    /// Makes the deliveries due that are parked behind these, if they are now the first open ones
    /// of their record.
    UNPARK_NEXT = BulkStatement::of(
        "UPDATE delivery SET parked = FALSE, due_at = ?2 WHERE parked AND id = (SELECT p.id \
            FROM delivery d JOIN delivery p ON p.endpoint_id = d.endpoint_id \
            AND p.order_key = d.order_key AND p.due_at IS NOT NULL WHERE d.id = ?1 \
            ORDER BY p.event_id, p.id LIMIT 1)",
        "UPDATE delivery n SET parked = FALSE, due_at = v.at \
            FROM UNNEST($1::uuid[], $2::bigint[]) AS v (id, at) JOIN delivery d ON d.id = v.id \
            CROSS JOIN LATERAL (SELECT p.id FROM delivery p WHERE p.endpoint_id = d.endpoint_id \
            AND p.order_key = d.order_key AND p.due_at IS NOT NULL \
            ORDER BY p.event_id, p.id LIMIT 1) h WHERE n.id = h.id AND n.parked",
        &[Id, Big],
    );
    /// The amounts that every other serving node holds and wants of each limit. `is_sharing` is
    /// false for a node that does not keep to shares, such as one of an earlier version or one that
    /// has not noticed others yet.
    OTHER_SHARES = BulkStatement::of(
        "SELECT n.id AS node, ?1 AS kind, ?2 AS subject, s.held, s.wanted, \
            EXISTS (SELECT 1 FROM share m WHERE m.node = n.id AND m.kind = -1) AS is_sharing \
            FROM node n LEFT JOIN share s ON s.node = n.id AND s.kind = ?1 AND s.subject = ?2 \
            WHERE n.id <> ?3 AND n.started_at IS NOT NULL",
        "SELECT n.id AS node, v.kind, v.subject, s.held, s.wanted, \
            EXISTS (SELECT 1 FROM share m WHERE m.node = n.id AND m.kind = -1) AS is_sharing \
            FROM UNNEST($1::smallint[], $2::uuid[], $3::bigint[]) AS v (kind, subject, own) \
            CROSS JOIN node n LEFT JOIN share s ON s.node = n.id AND s.kind = v.kind \
            AND s.subject = v.subject WHERE n.id <> v.own AND n.started_at IS NOT NULL",
        &[Small, Id, Big],
    );
    /// Does not write if nothing has changed.
    PUT_SHARE = BulkStatement::insert(
        "share",
        &[("node", Big), ("kind", Small), ("subject", Id), ("held", Int), ("wanted", Int)],
        "ON CONFLICT (kind, subject, node) DO UPDATE SET held = excluded.held, \
            wanted = excluded.wanted WHERE share.held <> excluded.held \
            OR share.wanted <> excluded.wanted",
    );
    PUT_NODE = BulkStatement::insert(
        "node",
        &[("id", Big), ("seen_at", Big)],
        "ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
    );
    PUT_RECORD = BulkStatement::insert("record", RECORD, RECORD_AGAIN);
    PUT_RECORD_FIELD = BulkStatement::insert(
        "record_field",
        RECORD_FIELD,
        "ON CONFLICT (resource, field, ordinal, resource_id, source) DO UPDATE SET \
            value = excluded.value, whole = excluded.whole \
            WHERE excluded.whole >= record_field.whole",
    );
    /// Adds a record that existed before its field was indexed.
    FILL_RECORD_FIELD =
        BulkStatement::insert("record_field", RECORD_FIELD, "ON CONFLICT DO NOTHING");
    INSERT_CALL = BulkStatement::insert("audit", CALL, "ON CONFLICT DO NOTHING");
    /// Updated with every further call that the row stands for, sometimes late.
    COUNT_CALLS = BulkStatement::insert(
        "audit",
        CALL,
        "ON CONFLICT (id) DO UPDATE SET method = excluded.method, route = excluded.route, \
            status = excluded.status, duration_us = excluded.duration_us, \
            calls = excluded.calls WHERE audit.calls < excluded.calls",
    );
    PUT_TOKEN_USAGE = BulkStatement::insert(
        "token_usage",
        TOKEN_USAGE,
        "ON CONFLICT (token_id) DO UPDATE SET window_began = excluded.window_began, \
            calls = excluded.calls, last_used_at = excluded.last_used_at",
    );
    PUT_SOURCE_ROW = BulkStatement::insert(
        "source_row",
        SOURCE_ROW,
        "ON CONFLICT (source_id, list, row_key) DO UPDATE SET hash = excluded.hash, \
            revision = excluded.revision, marks = excluded.marks, cells = excluded.cells",
    );
    /// The runs that hold sources, locked until the end of the transaction.
    SOURCE_HOLDERS = BulkStatement::of(
        "SELECT source_id, node, started_at FROM source_state WHERE source_id = ?1 \
            AND node IS NOT NULL AND started_at IS NOT NULL",
        "SELECT source_id, node, started_at FROM source_state WHERE source_id = ANY($1::uuid[]) \
            AND node IS NOT NULL AND started_at IS NOT NULL ORDER BY source_id FOR SHARE",
        &[Id],
    );
    KEEP_SOURCE_MEMORY = BulkStatement::of(
        "UPDATE source_state SET memory = ?2 WHERE source_id = ?1",
        "UPDATE source_state s SET memory = v.memory \
            FROM UNNEST($1::uuid[], $2::text[]) AS v (source_id, memory) \
            WHERE s.source_id = v.source_id",
        &[Id, Text],
    );
    /// Inserts a row that is set aside, or updates its fault.
    PUT_ROW_LETTER = BulkStatement::insert(
        "dead_letter",
        ROW_LETTER,
        "ON CONFLICT (source_id, list, row_id) WHERE source_id IS NOT NULL DO UPDATE SET \
            reason = excluded.reason, detail = excluded.detail, row_at = excluded.row_at, \
            content = excluded.content, replayed_at = NULL",
    );
    DELETE_ROW_LETTER = BulkStatement::of(
        "DELETE FROM dead_letter WHERE source_id = ?1 AND list = ?2 AND row_id = ?3",
        "DELETE FROM dead_letter d USING UNNEST($1::uuid[], $2::text[], $3::text[]) \
            AS v (source_id, list, row_id) WHERE d.source_id = v.source_id AND d.list = v.list \
            AND d.row_id = v.row_id",
        &[Id, Text, Text],
    );
    DELETE_SOURCE_ROW = BulkStatement::of(
        "DELETE FROM source_row WHERE source_id = ?1 AND list = ?2 AND row_key = ?3",
        "DELETE FROM source_row r USING UNNEST($1::uuid[], $2::text[], $3::bigint[]) \
            AS v (source_id, list, row_key) WHERE r.source_id = v.source_id AND r.list = v.list \
            AND r.row_key = v.row_key",
        &[Id, Text, Big],
    );
    DELETE_DELIVERY_DEAD_LETTER = BulkStatement::of(
        "DELETE FROM dead_letter WHERE delivery_id = ?1",
        "DELETE FROM dead_letter WHERE delivery_id = ANY($1::uuid[])",
        &[Id],
    );
}
