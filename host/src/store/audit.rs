//! Calls on record, and how tokens are used.
//!
//! Both ride along with whatever the writers commit next ([`EventStore::note`]): a call never waits
//! for a commit of its own. While the database is away they are kept, as settles are.

use super::batch::WriteBatch;
use super::bulk::BulkStatement;
use super::pool::reading;
use super::value::BoundRow;
use super::views::condition;
use super::window::{ListPage, ListWindow};
use super::writer::WriteOperation;
use super::{EventStore, StoreError, row, statements};
use crate::model::api_call::{ApiCall, TokenUsage};
use crate::model::id::{RequestId, TokenId};
use crate::time::timestamp::Timestamp;
use sqlx::types::Uuid;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;

/// What is to be written: calls, and the present state of tokens that were used.
#[derive(Debug, Default)]
pub struct AuditNotes {
    /// Calls with a row each.
    pub calls: Vec<ApiCall>,
    /// Rows that stand for several calls, each with all that it has counted so far.
    pub refused: Vec<ApiCall>,
    /// One for each token.
    pub usages: Vec<TokenUsage>,
}

/// Which calls to list.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    /// Only of this token.
    pub token: Option<TokenId>,
    /// Only from this address.
    pub address: Option<String>,
    /// Only with this method.
    pub method: Option<String>,
    /// Only of this route.
    pub route: Option<String>,
    /// Only with a status from the first to the last.
    pub status: Option<(u16, u16)>,
    /// Begun then or later.
    pub since: Option<Timestamp>,
    /// Begun earlier.
    pub until: Option<Timestamp>,
}

impl CallFilter {
    /// Whether rows are left out for another reason than their time.
    const fn is_narrow(&self) -> bool {
        self.token.is_some()
            || self.address.is_some()
            || self.method.is_some()
            || self.route.is_some()
            || self.status.is_some()
    }
}

type CallRow = (Uuid, Option<Uuid>, String, String, String, i16, i64, i32);

impl EventStore {
    /// Has notes written with the next commit. They come back if so much is queued up that they
    /// find no place.
    pub fn note(&self, notes: AuditNotes) -> Result<(), AuditNotes> {
        match self.inner.writer.try_send(WriteOperation::Note(Box::new(notes))) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(op) | TrySendError::Closed(op)) => match op {
                WriteOperation::Note(notes) => Err(*notes),
                WriteOperation::Capture { .. }
                | WriteOperation::Plan { .. }
                | WriteOperation::Settle(_)
                | WriteOperation::Take { .. }
                | WriteOperation::Prove { .. }
                | WriteOperation::Flush { .. } => Ok(()),
            },
        }
    }

    /// A page of calls, newest first, older than `before`.
    pub async fn calls(
        &self,
        filter: &CallFilter,
        before: Option<RequestId>,
        limit: u32,
    ) -> Result<ListPage<ApiCall, RequestId>, StoreError> {
        // Ids begin with their time, and a call's time is that of its id.
        let until = filter.until.map(RequestId::first_at);
        let bounds = before.into_iter().chain(until).map(RequestId::uuid);
        let since = filter.since.map(|at| RequestId::first_at(at).uuid());
        let mut window = ListWindow::between(since, bounds);
        if filter.is_narrow() {
            window = self.cut(window, statements::CALL_FLOOR).await?;
        }
        let (of, token) = condition(filter.token.map(TokenId::uuid));
        let (from, to) = filter.status.unzip();
        let rows: Vec<CallRow> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_CALLS)
                .bind(window.before)
                .bind(window.from)
                .bind(of)
                .bind(token)
                .bind(filter.address.as_deref())
                .bind(filter.method.as_deref())
                .bind(filter.route.as_deref())
                .bind(from.map(u16::cast_signed))
                .bind(to.map(u16::cast_signed))
                .bind(i64::from(limit) + 1)
                .fetch_all(db)
                .await?);
        let rows: Result<Vec<ApiCall>, StoreError> = rows.into_iter().map(call).collect();
        let page = window.page(rows?, limit, |call| call.id.uuid());
        Ok(page.with_ids(RequestId::from_uuid))
    }

    /// How tokens were being used when that was last written.
    pub async fn token_usages(&self) -> Result<Vec<TokenUsage>, StoreError> {
        let rows: Vec<(Uuid, i64, i32, i64)> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_TOKEN_USAGES)
                .fetch_all(db)
                .await?);
        let usage = |(token, window_began, calls, last): (Uuid, i64, i32, i64)| TokenUsage {
            token: TokenId::from_uuid(token),
            window_began,
            calls: calls.unsigned_abs(),
            last_used_at: Timestamp::from_micros(last),
        };
        Ok(rows.into_iter().map(usage).collect())
    }
}

fn call(found: CallRow) -> Result<ApiCall, StoreError> {
    let address =
        found.2.parse().map_err(|error| row::corrupt_value("audit", "address", &error))?;
    Ok(ApiCall {
        id: RequestId::from_uuid(found.0),
        token: found.1.map(TokenId::from_uuid),
        address,
        method: found.3,
        route: found.4,
        status: found.5.cast_unsigned(),
        duration: Duration::from_micros(found.6.unsigned_abs()),
        calls: found.7.unsigned_abs(),
    })
}

pub async fn write_notes(tx: &mut WriteBatch<'_>, notes: &[&AuditNotes]) -> Result<(), StoreError> {
    insert_calls(tx, &statements::INSERT_CALL, notes.iter().flat_map(|notes| &notes.calls)).await?;
    for notes in notes {
        // Two notes may be of one row, which PostgreSQL refuses within a statement.
        insert_calls(tx, &statements::COUNT_CALLS, notes.refused.iter()).await?;
        tx.run(&statements::PUT_TOKEN_USAGE, notes.usages.iter().map(usage_row).collect()).await?;
    }
    Ok(())
}

async fn insert_calls<'c>(
    tx: &mut WriteBatch<'_>,
    bulk: &'static BulkStatement,
    calls: impl Iterator<Item = &'c ApiCall> + Clone,
) -> Result<(), StoreError> {
    let addresses: Vec<String> = calls.clone().map(|call| call.address.to_string()).collect();
    let rows = calls.zip(&addresses).map(|(call, address)| call_row(call, address));
    tx.run(bulk, rows.collect()).await.map(drop)
}

fn call_row<'q>(call: &'q ApiCall, address: &'q str) -> BoundRow<'q> {
    BoundRow::new()
        .bind(call.id.uuid())
        .bind(call.token.map(TokenId::uuid))
        .bind(address)
        .bind(call.method.as_str())
        .bind(call.route.as_str())
        .bind(call.status.cast_signed())
        .bind(i64::try_from(call.duration.as_micros()).unwrap_or(i64::MAX))
        .bind(i64::from(call.calls))
}

fn usage_row<'q>(usage: &TokenUsage) -> BoundRow<'q> {
    BoundRow::new()
        .bind(usage.token.uuid())
        .bind(usage.window_began)
        .bind(i64::from(usage.calls))
        .bind(usage.last_used_at.micros())
}
