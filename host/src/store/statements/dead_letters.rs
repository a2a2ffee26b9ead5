//! Statements for dead letters.

/// Conditions on a dead letter `d`, each without effect if its parameter is null. All statements
/// that filter dead letters bind `$1` to `$10` in the order of `DeadLetterFilter::bind_to`.
macro_rules! letter_filter {
    () => {
        "(CAST($1 AS TEXT) IS NULL OR endpoint_id = $2) \
        AND (CAST($3 AS TEXT) IS NULL OR event_type = $3) \
        AND (CAST($4 AS TEXT) IS NULL OR reason = $4) \
        AND (CAST($5 AS BIGINT) IS NULL OR created_at >= $5) \
        AND (CAST($6 AS BIGINT) IS NULL OR created_at < $6) \
        AND (CAST($7 AS TEXT) IS NULL OR source_id = $8 OR EXISTS (SELECT 1 FROM event e \
            WHERE e.id = d.event_id AND e.source = $7)) \
        AND (CAST($9 AS TEXT) IS NULL OR $9 = CASE WHEN source_id IS NOT NULL THEN 'row' \
            WHEN delivery_id IS NOT NULL THEN 'delivery' ELSE 'event' END) \
        AND (CAST($10 AS SMALLINT) IS NULL OR EXISTS (SELECT 1 FROM delivery v \
            WHERE v.id = d.delivery_id AND v.status = $10))"
    };
}

statements! {
    UPDATE_DEAD_LETTER = "UPDATE dead_letter SET reason = $1, detail = $2, created_at = $3, \
        replayed_at = NULL WHERE (delivery_id = $5) \
        OR (delivery_id IS NULL AND CAST($5 AS TEXT) IS NULL AND event_id = $4 AND flow_id = $6)";
    INSERT_DEAD_LETTER = "INSERT INTO dead_letter (id, event_id, event_type, delivery_id, \
        endpoint_id, flow_id, reason, detail, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    END_REPLAY = "UPDATE dead_letter SET replayed_at = NULL WHERE delivery_id = $1";
    MARK_REPLAYED = "UPDATE dead_letter SET replayed_at = $2 WHERE delivery_id = $1";
    /// Only a dead letter that exists and is not being replayed.
    MARK_LETTER_REPLAYED = "UPDATE dead_letter SET replayed_at = $2 \
        WHERE id = $1 AND replayed_at IS NULL";
    END_LETTER_REPLAY = "UPDATE dead_letter SET replayed_at = NULL WHERE id = $1";
    SELECT_DEAD_LETTERS = concat!(
        "SELECT id, event_id, event_type, delivery_id, endpoint_id, flow_id, source_id, \
        list, row_id, row_at, reason, detail, created_at, replayed_at, \
        CASE WHEN content IS NULL THEN 0 ELSE 1 END AS has_content FROM dead_letter d WHERE ",
        letter_filter!(),
        " AND id < $11 AND id >= $12 ORDER BY id DESC LIMIT $13"
    );
    COUNT_DEAD_LETTERS = concat!(
        "SELECT COUNT(*) AS value FROM dead_letter d WHERE replayed_at IS NULL AND ",
        letter_filter!()
    );
    /// Counts the filtered dead letters by the objects that their replay needs.
    COUNT_LETTER_SUBJECTS = concat!(
        "SELECT endpoint_id, flow_id, source_id, COUNT(*) AS letters \
        FROM dead_letter d WHERE replayed_at IS NULL AND ",
        letter_filter!(),
        " GROUP BY endpoint_id, flow_id, source_id"
    );
    SELECT_DEAD_LETTER = "SELECT id, event_id, event_type, delivery_id, endpoint_id, flow_id, source_id, \
        list, row_id, row_at, reason, detail, created_at, replayed_at, \
        CASE WHEN content IS NULL THEN 0 ELSE 1 END AS has_content FROM dead_letter WHERE id = $1";
    /// The rows of a source that are set aside with their contents and are being replayed.
    SELECT_REPLAYED_ROWS = "SELECT id, list, row_id, row_at, content FROM dead_letter \
        WHERE source_id = $1 AND replayed_at IS NOT NULL AND content IS NOT NULL ORDER BY id LIMIT $2";
    /// Rows of a source that are set aside with their contents.
    SELECT_ROW_CONTENTS = "SELECT id, list, row_id, row_at, content FROM dead_letter \
        WHERE source_id = $1 AND content IS NOT NULL AND id > $3 ORDER BY id LIMIT $2";
    SELECT_ROW_LETTERS = "SELECT list, row_id, reason, detail, row_at, replayed_at FROM dead_letter \
        WHERE source_id = $1 ORDER BY list, row_id LIMIT $2";
    FORGET_ROW_LETTERS = "DELETE FROM dead_letter WHERE id IN (\
        SELECT id FROM dead_letter WHERE source_id = $1 LIMIT $2)";
    DELETE_DEAD_LETTER = "DELETE FROM dead_letter WHERE id = $1";
}
