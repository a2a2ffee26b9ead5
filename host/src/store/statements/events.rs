//! Statements for events and the plans of their flows.

statements! {
    FIND_EVENT = "SELECT id AS value FROM event WHERE id = $1";
    FIND_PLAN = "SELECT event_id AS value FROM plan WHERE event_id = $1 AND flow_id = $2 AND at = $3";
    SELECT_EVENT = "SELECT id, source, event_type, resource, resource_id, external_id, occurred_at, \
        received_at, attributes, changes, data, packed, matched, pruned_at FROM event WHERE id = $1";
    SELECT_EVENTS = "SELECT id, source, event_type, resource, resource_id, external_id, occurred_at, \
        received_at, attributes, changes, data, packed, matched, pruned_at FROM event WHERE id < $1 AND id >= $2 \
        AND (CAST($3 AS TEXT) IS NULL OR event_type = $3) AND (CAST($4 AS TEXT) IS NULL OR source = $4) \
        AND (CAST($5 AS TEXT) IS NULL OR resource = $5) \
        AND (CAST($6 AS TEXT) IS NULL OR resource_id = $6) \
        AND (CAST($7 AS BIGINT) IS NULL OR received_at >= $7) \
        AND (CAST($8 AS BIGINT) IS NULL OR received_at < $8) ORDER BY id DESC LIMIT $9";
    SELECT_PLANS = "SELECT flow_id, at, steps, contents, packed FROM plan WHERE event_id = $1 ORDER BY at, flow_id";
    SELECT_EVENT_PLANNING = "SELECT flow_id, due_at, lease IS NOT NULL AS running, attempts, deaths FROM planning \
        WHERE event_id = $1";
    PAYLOAD_PRUNED = "SELECT received_at, pruned_at FROM event WHERE id = $1 \
        AND pruned_at IS NOT NULL";
    /// Uses primary keys only, because `/readyz` runs it every second, however many rows there are.
    READ_NEWEST = "SELECT (SELECT received_at FROM event ORDER BY id DESC LIMIT 1), \
        (SELECT created_at FROM delivery ORDER BY id DESC LIMIT 1), \
        (SELECT due_at FROM planning ORDER BY event_id DESC LIMIT 1), \
        (SELECT created_at FROM dead_letter ORDER BY id DESC LIMIT 1)";
}
