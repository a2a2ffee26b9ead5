//! One statement with its parameters.

use super::bound_value::{BoundRow, BoundValue, ColumnKind};
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use std::time::Duration;
use uuid::Uuid;

/// Longest time on PostgreSQL for a statement that is repeated soon anyway, such as a claim.
pub const PROMPT: Duration = Duration::from_secs(5);

/// A statement and the values of its parameters `$1`, `$2`, …, in order.
#[derive(Debug)]
pub struct SqlQuery<'q> {
    text: &'static str,
    values: BoundRow<'q>,
    is_prompt: bool,
}

impl<'q> SqlQuery<'q> {
    pub fn new(text: &'static str) -> Self {
        Self { text, values: BoundRow::new(), is_prompt: false }
    }

    /// Adds the value of the next parameter.
    pub fn bind(self, value: impl Into<BoundValue<'q>>) -> Self {
        Self { values: self.values.bind(value), ..self }
    }

    /// Gives the statement up after [`PROMPT`] on PostgreSQL.
    pub fn promptly(self) -> Self {
        Self { is_prompt: true, ..self }
    }

    /// Returns the longest time for this statement, which is otherwise `usual`.
    pub const fn longest(&self, usual: Duration) -> Duration {
        if self.is_prompt { PROMPT } else { usual }
    }

    pub const fn text(&self) -> &'static str {
        self.text
    }

    pub const fn values(&self) -> &BoundRow<'q> {
        &self.values
    }

    /// Returns the statement in the form of PostgreSQL's driver.
    pub fn for_postgres(&self) -> Query<'q, Postgres, PgArguments> {
        let bind = |query: Query<'q, Postgres, PgArguments>, value: &BoundValue<'q>| match *value {
            BoundValue::Null(ColumnKind::Id) => query.bind(None::<Uuid>),
            BoundValue::Null(ColumnKind::Text) => query.bind(None::<&str>),
            BoundValue::Null(ColumnKind::Bytes) => query.bind(None::<&[u8]>),
            BoundValue::Null(ColumnKind::Small) => query.bind(None::<i16>),
            BoundValue::Null(ColumnKind::Int) => query.bind(None::<i32>),
            BoundValue::Null(ColumnKind::Big) => query.bind(None::<i64>),
            BoundValue::Small(number) => query.bind(number),
            BoundValue::Int(number) => query.bind(number),
            BoundValue::Big(number) => query.bind(number),
            BoundValue::Text(text) => query.bind(text),
            BoundValue::Bytes(bytes) => query.bind(bytes),
            BoundValue::Id(id) => query.bind(id),
        };
        self.values.values().iter().fold(sqlx::query(self.text), bind)
    }

    /// Copies the statement and its values, for a thread that outlives the caller.
    pub fn to_owned(&self) -> OwnedQuery {
        let values = self.values.values().iter().map(OwnedValue::from).collect();
        OwnedQuery { text: self.text, values, is_prompt: self.is_prompt }
    }
}

/// A statement that owns its values.
#[derive(Debug)]
pub struct OwnedQuery {
    text: &'static str,
    values: Vec<OwnedValue>,
    is_prompt: bool,
}

/// A value that is not borrowed.
#[derive(Debug)]
enum OwnedValue {
    Text(String),
    Bytes(Vec<u8>),
    Plain(BoundValue<'static>),
}

impl From<&BoundValue<'_>> for OwnedValue {
    fn from(value: &BoundValue<'_>) -> Self {
        match *value {
            BoundValue::Text(text) => Self::Text(text.to_owned()),
            BoundValue::Bytes(bytes) => Self::Bytes(bytes.to_owned()),
            BoundValue::Null(kind) => Self::Plain(BoundValue::Null(kind)),
            BoundValue::Small(number) => Self::Plain(BoundValue::Small(number)),
            BoundValue::Int(number) => Self::Plain(BoundValue::Int(number)),
            BoundValue::Big(number) => Self::Plain(BoundValue::Big(number)),
            BoundValue::Id(id) => Self::Plain(BoundValue::Id(id)),
        }
    }
}

impl OwnedQuery {
    pub fn borrow(&self) -> SqlQuery<'_> {
        let query = SqlQuery { is_prompt: self.is_prompt, ..SqlQuery::new(self.text) };
        self.values.iter().fold(query, |query, value| match value {
            OwnedValue::Text(text) => query.bind(text.as_str()),
            OwnedValue::Bytes(bytes) => query.bind(bytes.as_slice()),
            OwnedValue::Plain(value) => query.bind(*value),
        })
    }
}
