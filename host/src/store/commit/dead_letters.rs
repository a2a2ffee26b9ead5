//! Writes dead letters.

use crate::model::delivery::DeadLetter;
use crate::store::db::{SqlQuery, WriteTransaction};
use crate::store::{StoreError, statements};

/// Inserts a dead letter, or updates the one of the same delivery or flow.
pub async fn write_dead_letter(
    tx: &mut WriteTransaction<'_>,
    dead: &DeadLetter,
) -> Result<(), StoreError> {
    let update = SqlQuery::new(statements::UPDATE_DEAD_LETTER)
        .bind(dead.reason.as_str())
        .bind(dead.detail.as_str())
        .bind(dead.created_at)
        .bind(dead.event_id)
        .bind(dead.delivery_id)
        .bind(dead.flow_id);
    if tx.execute(update).await? > 0 {
        return Ok(());
    }
    let insert = SqlQuery::new(statements::INSERT_DEAD_LETTER)
        .bind(dead.id)
        .bind(dead.event_id)
        .bind(dead.event_type.as_str())
        .bind(dead.delivery_id)
        .bind(dead.endpoint_id)
        .bind(dead.flow_id)
        .bind(dead.reason.as_str())
        .bind(dead.detail.as_str())
        .bind(dead.created_at);
    tx.execute(insert).await.map(drop)
}
