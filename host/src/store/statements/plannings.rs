//! Statements for plannings: events on which the modules of a flow are to run.

statements! {
    POSTPONE_PLANNING = "UPDATE planning SET due_at = $1, lease = NULL, attempts = attempts + $5, \
        deaths = 0 WHERE event_id = $2 AND flow_id = $3 AND lease = $4";
    CLAIM_PLANNING_SQLITE = "UPDATE planning SET lease = $1, due_at = $2 \
        WHERE (event_id, flow_id) IN (SELECT event_id, flow_id FROM planning WHERE flow_id = $5 \
        AND due_at <= $3 AND deaths < 2 ORDER BY due_at LIMIT $4)";
    CLAIM_PLANNING_POSTGRES = "WITH due AS MATERIALIZED (SELECT event_id, flow_id FROM planning \
        WHERE flow_id = $5 AND due_at <= $3 AND deaths < 2 ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED) \
        UPDATE planning SET lease = $1, due_at = $2 FROM due \
        WHERE planning.event_id = due.event_id AND planning.flow_id = due.flow_id";
    CLAIMED_PLANNING = "SELECT p.flow_id, p.attempts, p.deaths, e.id, e.source, e.event_type, e.resource, \
        e.resource_id, e.external_id, e.occurred_at, e.received_at, e.attributes, e.changes, e.data, e.packed \
        FROM planning p JOIN event e ON e.id = p.event_id WHERE p.due_at = $1 AND p.lease = $2 \
        ORDER BY p.event_id, p.flow_id";
    FIND_CLAIMED_PLANNING = "SELECT event_id FROM planning WHERE due_at = $1 AND lease = $2 LIMIT 1";
    RELEASE_REST_PLANNING = "UPDATE planning SET lease = NULL, due_at = $3 WHERE due_at = $1 \
        AND lease = $2 AND (event_id > $4 OR (event_id = $4 AND flow_id > $5))";
    PLANNING_IS_DUE = "SELECT due_at AS value FROM planning WHERE flow_id = $1 AND due_at <= $2 AND deaths < 2 LIMIT 1";
    /// Flows with due plannings, by one index lookup each.
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
    /// One event under which a process died twice or more. With `$4` = 0 only if no other event
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
    RELEASE_NODE_PLANNING = "UPDATE planning SET lease = NULL, due_at = $3 \
        WHERE lease BETWEEN $1 AND $2";
    /// Counts a death, because any of these plannings may have caused it.
    RELEASE_LOST_PLANNING = "UPDATE planning SET lease = NULL, due_at = $3, \
        deaths = deaths + 1 WHERE lease BETWEEN $1 AND $2";
    PLAN_AGAIN = "INSERT INTO planning (event_id, flow_id, due_at, lease, attempts, record_key) \
        VALUES ($1, $2, $3, NULL, 0, $4) ON CONFLICT (event_id, flow_id) DO NOTHING";
    DELETE_FLOW_PLANNING = "DELETE FROM planning WHERE flow_id = $1";
}
