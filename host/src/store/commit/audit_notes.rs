//! Writes audited calls and the usage of tokens.
//!
//! Both are added to the next commit of the writers, so a call never waits for a commit of its own.
//! While the database is away they are kept, as attempts are.

use crate::model::api_call::{ApiCall, TokenUsage};
use crate::store::db::{BoundRow, BulkStatement, WriteTransaction};
use crate::store::{StoreError, statements};

/// Calls, and the present usage of tokens, that are to be written.
#[derive(Debug, Default)]
pub struct AuditNotes {
    /// Calls with a row each.
    pub calls: Vec<ApiCall>,
    /// Rows that stand for several calls. Each holds the total count so far.
    pub refused: Vec<ApiCall>,
    /// One entry for each token.
    pub usages: Vec<TokenUsage>,
}

pub async fn write_notes(
    tx: &mut WriteTransaction<'_>,
    notes: &[&AuditNotes],
) -> Result<(), StoreError> {
    insert_calls(tx, &statements::INSERT_CALL, notes.iter().flat_map(|notes| &notes.calls)).await?;
    for notes in notes {
        // Two notes may concern one row, which PostgreSQL refuses within a statement.
        insert_calls(tx, &statements::COUNT_CALLS, notes.refused.iter()).await?;
        tx.execute_bulk(&statements::PUT_TOKEN_USAGE, notes.usages.iter().map(usage_row).collect())
            .await?;
    }
    Ok(())
}

async fn insert_calls<'c>(
    tx: &mut WriteTransaction<'_>,
    bulk: &'static BulkStatement,
    calls: impl Iterator<Item = &'c ApiCall> + Clone,
) -> Result<(), StoreError> {
    let addresses: Vec<String> = calls.clone().map(|call| call.address.to_string()).collect();
    let rows = calls.zip(&addresses).map(|(call, address)| call_row(call, address));
    tx.execute_bulk(bulk, rows.collect()).await.map(drop)
}

fn call_row<'q>(call: &'q ApiCall, address: &'q str) -> BoundRow<'q> {
    BoundRow::new()
        .bind(call.id)
        .bind(call.token)
        .bind(address)
        .bind(call.method.as_str())
        .bind(call.route.as_str())
        .bind(call.status.cast_signed())
        .bind(i64::try_from(call.duration.as_micros()).unwrap_or(i64::MAX))
        .bind(i64::from(call.calls))
}

fn usage_row<'q>(usage: &TokenUsage) -> BoundRow<'q> {
    BoundRow::new()
        .bind(usage.token)
        .bind(usage.window_began)
        .bind(i64::from(usage.calls))
        .bind(usage.last_used_at)
}
