//! Statements for records and the indexes on their fields.

/// The present records of a resource, optionally of one source, with an event since the given time.
/// The page is chosen before the events are joined, so skipped rows cost no lookup. With `$after`
/// the page begins after a position.
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
            "SELECT r.resource_id, r.source, r.ordinal, r.created_at, r.updated_at, e.data, e.packed \
            FROM (",
            $records,
            " ORDER BY ",
            $order,
            " LIMIT $4 OFFSET $5) r JOIN event e ON e.id = r.event_id ORDER BY ",
            $order
        )
    };
}

/// The records with an event since the given time, in the order of their last event. Records that
/// never changed are not in the index of changed ones: that saves a new record one index entry,
/// which was a tenth of all processor time of a batch. So the page is chosen from the first rows of
/// both kinds.
macro_rules! records_by_update {
    ($direction:literal) => {
        records_by_update!($direction, "", "")
    };
    ($direction:literal, $unchanged_after:literal, $changed_after:literal) => {
        concat!(
            "SELECT r.resource_id, r.source, r.ordinal, r.created_at, r.updated_at, e.data, e.packed \
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

/// The few records with an event since the given time, in the order of their creation.
macro_rules! few_records {
    ($after:literal) => {
        concat!(
            "SELECT r.resource_id, r.source, r.ordinal, r.created_at, r.updated_at, e.data, e.packed \
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

statements! {
    /// Walks the list in its order. The plus sign keeps the planner from first finding all records
    /// of that time, which may be most of them.
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
    /// Finds all records of that time and sorts them, which is faster for a few among many.
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
    /// The records with one id, one for each source that has it, the most recent first.
    SELECT_RECORD = "SELECT r.resource_id, r.source, r.ordinal, r.created_at, r.updated_at, e.data, e.packed \
        FROM record r JOIN event e ON e.id = r.event_id WHERE r.resource = $1 AND r.ordinal = $2 \
        AND r.resource_id = $3 AND r.deleted_at IS NULL \
        AND (CAST($4 AS TEXT) IS NULL OR r.source = $4) ORDER BY r.updated_at DESC LIMIT $5";
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
    /// Records whose field had this value when it was indexed.
    FIND_RECORDS_BY_FIELD = "SELECT r.resource_id, r.source, r.ordinal, r.created_at, r.updated_at, e.data, e.packed \
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
    /// Of records that are gone. The number of rows is bounded; the time is not used.
    FORGET_RECORD_FIELDS = "DELETE FROM record_field WHERE (resource, field, ordinal, resource_id, source) IN (\
        SELECT f.resource, f.field, f.ordinal, f.resource_id, f.source FROM record_field f \
        WHERE CAST($1 AS BIGINT) > 0 AND NOT EXISTS (SELECT 1 FROM record r WHERE r.resource = f.resource \
            AND r.ordinal = f.ordinal AND r.resource_id = f.resource_id AND r.source = f.source) LIMIT $2)";
}
