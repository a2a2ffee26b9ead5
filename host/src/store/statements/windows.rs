//! Statements that bound how much of a table is examined: floors for lists, and windows for
//! pruning.

/// The lowest id of the newest `$3 + 1` rows between two ids.
macro_rules! floor {
    ($table:literal) => {
        concat!(
            "SELECT id AS value FROM ",
            $table,
            " WHERE id < $1 AND id >= $2 ORDER BY id DESC LIMIT 1 OFFSET $3"
        )
    };
}

statements! {
    EVENT_FLOOR = floor!("event");
    DELIVERY_FLOOR = floor!("delivery");
    DEAD_LETTER_FLOOR = floor!("dead_letter");
    CALL_FLOOR = floor!("audit");
    /// The last id of a window of `$3 + 1` rows, if there are more.
    EVENT_WINDOW = "SELECT id AS value FROM event WHERE id > $1 AND id < $2 ORDER BY id LIMIT 1 OFFSET $3";
    DELIVERY_WINDOW =
        "SELECT id AS value FROM delivery WHERE id > $1 AND id < $2 ORDER BY id LIMIT 1 OFFSET $3";
    DEAD_LETTER_WINDOW =
        "SELECT id AS value FROM dead_letter WHERE id > $1 AND id < $2 ORDER BY id LIMIT 1 OFFSET $3";
    ATTEMPT_WINDOW = "SELECT delivery_id AS value FROM attempt WHERE delivery_id > $1 AND delivery_id < $2 \
        ORDER BY delivery_id LIMIT 1 OFFSET $3";
    PLAN_WINDOW = "SELECT event_id AS value FROM plan WHERE event_id > $1 AND event_id < $2 \
        ORDER BY event_id LIMIT 1 OFFSET $3";
}
