//! Audited calls, and the usage of tokens.

use super::window::{ListPage, ListWindow, condition};
use crate::model::api_call::{ApiCall, TokenUsage};
use crate::model::id::{RequestId, TokenId};
use crate::store::db::{FromStoredRow, SqlQuery, StoredRow};
use crate::store::error::database_error::corrupt_value;
use crate::store::{EventStore, StoreError, statements};
use crate::time::timestamp::Timestamp;
use std::time::Duration;

/// Selects calls.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    /// Calls of this token.
    pub token: Option<TokenId>,
    /// Calls from this address.
    pub address: Option<String>,
    /// Calls with this method.
    pub method: Option<String>,
    /// Calls of this route.
    pub route: Option<String>,
    /// Calls with a status in this range, both ends included.
    pub status: Option<(u16, u16)>,
    /// Calls that began at this time or later.
    pub since: Option<Timestamp>,
    /// Calls that began before this time.
    pub until: Option<Timestamp>,
}

impl CallFilter {
    /// Returns whether conditions other than the time exclude rows.
    const fn is_narrow(&self) -> bool {
        self.token.is_some()
            || self.address.is_some()
            || self.method.is_some()
            || self.route.is_some()
            || self.status.is_some()
    }
}

impl FromStoredRow for ApiCall {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let address: String = row.get("address")?;
        let address = address.parse().map_err(|error| corrupt_value("audit", "address", &error))?;
        let (status, duration_us): (i16, i64) = (row.get("status")?, row.get("duration_us")?);
        let calls: i32 = row.get("calls")?;
        Ok(Self {
            id: row.get("id")?,
            token: row.get("token_id")?,
            address,
            method: row.get("method")?,
            route: row.get("route")?,
            status: status.cast_unsigned(),
            duration: Duration::from_micros(duration_us.unsigned_abs()),
            calls: calls.unsigned_abs(),
        })
    }
}

impl FromStoredRow for TokenUsage {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let calls: i32 = row.get("calls")?;
        Ok(Self {
            token: row.get("token_id")?,
            window_began: row.get("window_began")?,
            calls: calls.unsigned_abs(),
            last_used_at: row.get("last_used_at")?,
        })
    }
}

impl EventStore {
    /// Returns a page of calls, newest first, that are older than `before`.
    pub async fn list_calls(
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
            window = self.cut_window(window, statements::CALL_FLOOR).await?;
        }
        let (of, token) = condition(filter.token.map(TokenId::uuid));
        let (from, to) = filter.status.unzip();
        let query = SqlQuery::new(statements::SELECT_CALLS)
            .bind(window.before)
            .bind(window.from)
            .bind(of)
            .bind(token)
            .bind(filter.address.as_deref())
            .bind(filter.method.as_deref())
            .bind(filter.route.as_deref())
            .bind(from.map(u16::cast_signed))
            .bind(to.map(u16::cast_signed))
            .bind(i64::from(limit) + 1);
        let rows = self.pool().fetch_all(query).await?;
        let page = window.page(rows, limit, |call: &ApiCall| call.id.uuid());
        Ok(page.with_ids(RequestId::from_uuid))
    }

    /// Returns the last stored usage of each token.
    pub async fn list_token_usages(&self) -> Result<Vec<TokenUsage>, StoreError> {
        self.pool().fetch_all(SqlQuery::new(statements::SELECT_TOKEN_USAGES)).await
    }
}
