//! Statements for alerts, for the figures from which they are made, and for the duty to evaluate
//! them.

/// A column over the events that wait for the modules of a flow, within a bound.
macro_rules! waiting_events_of_flow {
    ($column:literal, $join:literal) => {
        concat!(
            "(SELECT ",
            $column,
            " FROM planning p ",
            $join,
            "WHERE p.flow_id = o.id AND p.deaths < 2 ORDER BY p.due_at LIMIT $1) w"
        )
    };
}

statements! {
    /// Takes the duty only if no node holds it, or this node does.
    TAKE_DUTY = "INSERT INTO duty (name, node, until) VALUES ($1, $2, $4) \
        ON CONFLICT (name) DO UPDATE SET node = excluded.node, until = excluded.until \
        WHERE duty.node = excluded.node OR duty.until < $3";
    /// Also blocks other nodes until the end of the transaction.
    HOLD_DUTY = "UPDATE duty SET until = until WHERE name = $1 AND node = $2 AND until >= $3";
    LEAVE_DUTIES = "DELETE FROM duty WHERE node = $1";

    SELECT_ALERTS = "SELECT id, finding, unsent, acknowledged_at, acknowledged_by, silenced_until \
        FROM alert ORDER BY is_open DESC, changed_at DESC, id LIMIT $1";
    SELECT_OPEN_ALERTS = "SELECT id, finding, unsent, acknowledged_at, acknowledged_by, \
        silenced_until FROM alert WHERE is_open ORDER BY changed_at DESC, id LIMIT $1";
    SELECT_ALERT = "SELECT id, finding, unsent, acknowledged_at, acknowledged_by, silenced_until \
        FROM alert WHERE id = $1";
    /// An alert that fires again starts without the acknowledgement and silence of the last time.
    PUT_ALERT = "INSERT INTO alert (id, rule, subject, finding, is_open, changed_at, unsent) \
        VALUES ($1, $2, $3, $4, CAST($5 AS SMALLINT) = 1, $6, $7) \
        ON CONFLICT (rule, subject) DO UPDATE SET \
        id = excluded.id, finding = excluded.finding, is_open = excluded.is_open, \
        changed_at = excluded.changed_at, unsent = COALESCE(excluded.unsent, alert.unsent), \
        acknowledged_at = CASE WHEN alert.is_open THEN alert.acknowledged_at END, \
        acknowledged_by = CASE WHEN alert.is_open THEN alert.acknowledged_by END, \
        silenced_until = CASE WHEN alert.is_open THEN alert.silenced_until END";
    FORGET_ALERT = "DELETE FROM alert WHERE rule = $1 AND subject = $2";
    FORGET_OLD_ALERTS = "DELETE FROM alert WHERE NOT is_open AND changed_at < $1";
    /// Matches the notice that was sent, because another one may have replaced it.
    NOTE_ALERT_SENT = "UPDATE alert SET unsent = NULL WHERE id = $1 AND unsent = $2";
    ACKNOWLEDGE_ALERT = "UPDATE alert SET acknowledged_at = $2, acknowledged_by = $3 \
        WHERE id = $1 AND is_open";
    SILENCE_ALERT = "UPDATE alert SET silenced_until = $2 WHERE id = $1 AND is_open";

    SELECT_HEALTH = "SELECT kind, subject, memory FROM health";
    PUT_HEALTH = "INSERT INTO health (kind, subject, memory) VALUES ($1, $2, $3) \
        ON CONFLICT (kind, subject) DO UPDATE SET memory = excluded.memory";
    FORGET_HEALTH = "DELETE FROM health WHERE kind = $1 AND subject = $2";

    /// The first failure after a time among the deliveries that are tried next.
    FIRST_FAILURE = "SELECT MIN(a.at) AS value FROM (SELECT id FROM delivery \
        WHERE endpoint_id = $1 AND due_at IS NOT NULL ORDER BY due_at LIMIT 200) d \
        JOIN attempt a ON a.delivery_id = d.id WHERE a.error_class IS NOT NULL AND a.at > $2";
    /// The sources that sent something since the given time, with the first and last time.
    RECENT_SENDERS = "SELECT source, MIN(received_at) AS first_at, \
        MAX(received_at) AS last_at FROM (SELECT source, received_at FROM event WHERE id >= $1 \
        ORDER BY id DESC LIMIT $2) newest GROUP BY source";
    /// The events that wait for the modules of each flow, counted up to a bound. Events under which
    /// processes died are not in the index, so they are left out.
    FLOW_QUEUES = concat!(
        "SELECT o.id AS flow_id, (SELECT COUNT(*) FROM ",
        waiting_events_of_flow!("1 AS one", ""),
        ") AS waiting, (SELECT COUNT(*) FROM ",
        waiting_events_of_flow!("p.attempts", ""),
        " WHERE w.attempts > 0) AS retrying, (SELECT MIN(w.received_at) FROM ",
        waiting_events_of_flow!("e.received_at", "JOIN event e ON e.id = p.event_id "),
        ") AS oldest_at, (SELECT MIN(w.due_at) FROM ",
        waiting_events_of_flow!("p.due_at", ""),
        ") AS due_at FROM object o WHERE o.kind = 'flow'"
    );
    /// The recent events of each flow on which its modules failed.
    RECENT_MODULE_DEATHS = "SELECT flow_id, COUNT(*) AS letters, MAX(detail) AS detail FROM \
        (SELECT flow_id, endpoint_id, created_at, detail FROM dead_letter ORDER BY id DESC \
        LIMIT $1) n WHERE n.flow_id IS NOT NULL AND n.endpoint_id IS NULL \
        AND n.created_at >= $2 GROUP BY flow_id";
    /// The last event that each flow planned, among the newest plans.
    RECENT_PLANS = "SELECT flow_id, MAX(at) AS at FROM (SELECT flow_id, at FROM plan \
        WHERE event_id >= $1 ORDER BY event_id DESC LIMIT $2) newest GROUP BY flow_id";
}
