//! Statements that examine many rows at once, within a bound: the outcomes of a page of events, the
//! queue of each endpoint, and figures over the newest rows.

/// A statement over the rows of a page of events, whose ids are given as a JSON list.
macro_rules! of_events {
    ($head:literal, $tail:literal, sqlite) => {
        concat!($head, "event_id IN (SELECT unhex(value) FROM json_each($1))", $tail)
    };
    ($head:literal, $tail:literal, postgres) => {
        concat!(
            $head,
            "event_id IN (SELECT CAST(value AS UUID) \
            FROM json_array_elements_text(CAST($1 AS JSON)))",
            $tail
        )
    };
}

macro_rules! delivery_groups {
    ($database:ident) => {
        of_events!(
            "SELECT event_id, endpoint_id, status, COUNT(*) AS deliveries, \
            MAX(attempts) AS attempts, MIN(due_at) AS due_at, \
            MAX(settled_at) AS settled_at FROM delivery WHERE ",
            " GROUP BY event_id, endpoint_id, status",
            $database
        )
    };
}

macro_rules! waiting_events {
    ($database:ident) => {
        of_events!("SELECT event_id, flow_id FROM planning WHERE ", "", $database)
    };
}

macro_rules! event_deaths {
    ($database:ident) => {
        of_events!(
            "SELECT event_id, delivery_id IS NOT NULL AS is_delivery, detail, \
            replayed_at IS NOT NULL AS is_replayed FROM dead_letter WHERE ",
            " ORDER BY created_at DESC",
            $database
        )
    };
}

macro_rules! event_steps {
    ($database:ident) => {
        of_events!(
            "SELECT event_id, flow_id, steps FROM plan WHERE ",
            " ORDER BY at DESC LIMIT $2",
            $database
        )
    };
}

statements! {
    DELIVERY_GROUPS_SQLITE = delivery_groups!(sqlite);
    DELIVERY_GROUPS_POSTGRES = delivery_groups!(postgres);
    WAITING_EVENTS_SQLITE = waiting_events!(sqlite);
    WAITING_EVENTS_POSTGRES = waiting_events!(postgres);
    EVENT_DEATHS_SQLITE = event_deaths!(sqlite);
    EVENT_DEATHS_POSTGRES = event_deaths!(postgres);
    EVENT_STEPS_SQLITE = event_steps!(sqlite);
    EVENT_STEPS_POSTGRES = event_steps!(postgres);
    RECENT_EVENT_KINDS = "SELECT event_type, source, resource, COUNT(*) AS events \
        FROM (SELECT event_type, source, resource FROM event ORDER BY id DESC LIMIT $1) newest \
        GROUP BY event_type, source, resource ORDER BY events DESC, event_type LIMIT 500";
    RECENT_DELIVERIES = "SELECT endpoint_id, status, attempts, created_at, settled_at FROM delivery \
        WHERE id >= $1 ORDER BY id DESC LIMIT $2";
    /// Ids begin with their time, so the index alone is enough.
    RECENT_CAPTURES = "SELECT id FROM event WHERE id >= $1 ORDER BY id DESC LIMIT $2";
    ENDPOINT_QUEUES = "SELECT o.id AS endpoint_id, \
        (SELECT COUNT(*) FROM (SELECT 1 AS one FROM delivery d WHERE d.endpoint_id = o.id \
            AND d.due_at IS NOT NULL LIMIT $1) w) AS waiting, \
        (SELECT COUNT(*) FROM (SELECT d.attempts FROM delivery d WHERE d.endpoint_id = o.id \
            AND d.due_at IS NOT NULL LIMIT $1) w WHERE w.attempts > 0) AS retrying, \
        (SELECT MIN(w.created_at) FROM (SELECT d.created_at FROM delivery d \
            WHERE d.endpoint_id = o.id AND d.due_at IS NOT NULL LIMIT $1) w) AS oldest_at, \
        (SELECT MIN(w.created_at) FROM (SELECT d.created_at, d.attempts FROM delivery d \
            WHERE d.endpoint_id = o.id AND d.due_at IS NOT NULL LIMIT $1) w \
            WHERE w.attempts > 0) AS oldest_retry_at, \
        (SELECT d.due_at FROM delivery d WHERE d.endpoint_id = o.id AND d.due_at IS NOT NULL \
            ORDER BY d.due_at LIMIT 1) AS due_at FROM object o WHERE o.kind = 'endpoint'";
    /// The latest failure of each endpoint: of the 200 deliveries that are due next, and of the
    /// endpoint's newest dead letter among the newest `$1` of all.
    LAST_FAILURES = "SELECT endpoint_id, at, response_status, error FROM \
        (SELECT d.endpoint_id, a.at, a.response_status, a.error, \
            ROW_NUMBER() OVER (PARTITION BY d.endpoint_id ORDER BY a.at DESC) AS place FROM \
            (SELECT (SELECT a.delivery_id FROM (SELECT id, attempts FROM delivery \
                WHERE endpoint_id = o.id AND due_at IS NOT NULL ORDER BY due_at LIMIT 200) w \
                JOIN attempt a ON a.delivery_id = w.id AND a.number = w.attempts \
                WHERE w.attempts > 0 AND a.error_class IS NOT NULL \
                ORDER BY a.at DESC LIMIT 1) AS delivery_id \
                FROM object o WHERE o.kind = 'endpoint' \
            UNION ALL SELECT delivery_id FROM (SELECT delivery_id, \
                ROW_NUMBER() OVER (PARTITION BY endpoint_id ORDER BY id DESC) AS place \
                FROM (SELECT id, endpoint_id, delivery_id FROM dead_letter \
                    ORDER BY id DESC LIMIT $1) newest \
                WHERE delivery_id IS NOT NULL) letters WHERE place = 1) latest \
            JOIN delivery d ON d.id = latest.delivery_id \
            JOIN attempt a ON a.delivery_id = d.id AND a.number = d.attempts) failures \
        WHERE place = 1";
    /// A delivery died at its endpoint, whichever flow planned it.
    DEATH_CAUSES = "SELECT endpoint_id, CASE WHEN endpoint_id IS NULL THEN flow_id END AS flow_id, \
        source_id, reason, COUNT(*) AS letters, COUNT(replayed_at) AS replaying, \
        MIN(created_at) AS first_at, MAX(created_at) AS last_at, MAX(detail) AS detail \
        FROM (SELECT * FROM dead_letter ORDER BY id DESC LIMIT $1) newest \
        GROUP BY endpoint_id, CASE WHEN endpoint_id IS NULL THEN flow_id END, source_id, reason \
        ORDER BY letters DESC LIMIT $2";
    COUNT_OPEN_LETTERS = "SELECT COUNT(*) AS value FROM (SELECT 1 AS one FROM dead_letter \
        WHERE replayed_at IS NULL LIMIT $1) counted";
}
