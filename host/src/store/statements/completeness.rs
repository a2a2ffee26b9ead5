//! Statements for the completeness of a day: its events in order, and what became of some of them.
//! Ids, and keys of records, are given as a JSON list.

macro_rules! among_ids {
    ($column:literal, sqlite) => {
        concat!($column, " IN (SELECT unhex(value) FROM json_each($1))")
    };
    ($column:literal, postgres) => {
        concat!(
            $column,
            " IN (SELECT CAST(value AS UUID) FROM json_array_elements_text(CAST($1 AS JSON)))"
        )
    };
}

macro_rules! plan_deaths {
    ($database:ident) => {
        concat!(
            "SELECT event_id, flow_id, detail, created_at, replayed_at IS NOT NULL AS is_replayed \
            FROM dead_letter WHERE delivery_id IS NULL AND source_id IS NULL AND ",
            among_ids!("event_id", $database)
        )
    };
}

macro_rules! module_cancels {
    ($database:ident) => {
        concat!(
            "SELECT DISTINCT d.event_id, d.endpoint_id FROM delivery d \
            JOIN cancel_key c ON c.delivery_id = d.id WHERE d.status = 5 /* cancelled */ AND ",
            among_ids!("d.event_id", $database)
        )
    };
}

macro_rules! delivery_deaths {
    ($database:ident) => {
        concat!(
            "SELECT delivery_id, detail FROM dead_letter WHERE ",
            among_ids!("delivery_id", $database)
        )
    };
}

macro_rules! pruned_events {
    ($database:ident) => {
        concat!(
            "SELECT id AS value FROM event WHERE pruned_at IS NOT NULL AND ",
            among_ids!("id", $database)
        )
    };
}

macro_rules! listed_events {
    ($database:ident) => {
        concat!(
            "SELECT id, source, event_type, resource, resource_id, external_id, occurred_at, \
            received_at, attributes, changes, data, packed, matched, pruned_at FROM event WHERE ",
            among_ids!("id", $database),
            " ORDER BY id"
        )
    };
}

macro_rules! deliveries_of_events {
    ($database:ident) => {
        concat!(
            "SELECT id, event_id, endpoint_id, flow_id, event_type, status, due_at, attempts, \
            created_at, settled_at, collapsed FROM delivery WHERE endpoint_id = $2 AND ",
            among_ids!("event_id", $database),
            " ORDER BY id"
        )
    };
}

statements! {
    /// Leaves out the payload, and every column that SQLite stores behind it.
    DAY_EVENTS = "SELECT id, source, event_type, resource, resource_id, received_at FROM event \
        WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3";
    PLAN_DEATHS_SQLITE = plan_deaths!(sqlite);
    PLAN_DEATHS_POSTGRES = plan_deaths!(postgres);
    /// Events of which a delivery was cancelled that a module can cancel by name.
    MODULE_CANCELS_SQLITE = module_cancels!(sqlite);
    MODULE_CANCELS_POSTGRES = module_cancels!(postgres);
    PRUNED_EVENTS_SQLITE = pruned_events!(sqlite);
    PRUNED_EVENTS_POSTGRES = pruned_events!(postgres);
    LISTED_EVENTS_SQLITE = listed_events!(sqlite);
    LISTED_EVENTS_POSTGRES = listed_events!(postgres);
    DELIVERIES_OF_EVENTS_SQLITE = deliveries_of_events!(sqlite);
    DELIVERIES_OF_EVENTS_POSTGRES = deliveries_of_events!(postgres);
    /// The events that hold the latest state of records. A key is a list of the resource, the id as
    /// a number, the id, and the source.
    RECORD_HEADS_SQLITE = "SELECT r.resource, r.resource_id, r.source, r.event_id \
        FROM json_each($1) k CROSS JOIN record r WHERE r.resource = json_extract(k.value, '$[0]') \
        AND r.ordinal = json_extract(k.value, '$[1]') \
        AND r.resource_id = json_extract(k.value, '$[2]') \
        AND r.source = json_extract(k.value, '$[3]')";
    RECORD_HEADS_POSTGRES = "SELECT r.resource, r.resource_id, r.source, r.event_id \
        FROM json_array_elements(CAST($1 AS JSON)) AS k (value) JOIN record r \
        ON r.resource = k.value ->> 0 AND r.ordinal = CAST(k.value ->> 1 AS BIGINT) \
        AND r.resource_id = k.value ->> 2 AND r.source = k.value ->> 3";
    DELIVERY_DEATHS_SQLITE = delivery_deaths!(sqlite);
    DELIVERY_DEATHS_POSTGRES = delivery_deaths!(postgres);
    FIND_DELIVERY_OF = "SELECT id FROM delivery WHERE event_id = $1 AND endpoint_id = $2 LIMIT 1";
    SELECT_PLAN_LETTER = "SELECT id, event_id, event_type, delivery_id, endpoint_id, flow_id, source_id, \
        list, row_id, row_at, reason, detail, created_at, replayed_at FROM dead_letter \
        WHERE delivery_id IS NULL AND source_id IS NULL AND event_id = $1 AND flow_id = $2";
}
