//! Values that are bound to parameters of statements.

use crate::model::id::{
    AlertId, DeadLetterId, DeliveryId, EndpointId, EventId, FlowId, ModuleId, RequestId, SourceId,
    TokenId,
};
use crate::time::timestamp::Timestamp;
use uuid::Uuid;

/// The type of a column. PostgreSQL distinguishes all of them; SQLite stores the last three alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    Id,
    Text,
    Bytes,
    Small,
    Int,
    Big,
}

/// A value that is bound to a parameter.
#[derive(Debug, Clone, Copy)]
pub enum BoundValue<'q> {
    /// PostgreSQL needs the type of an absent value.
    Null(ColumnKind),
    Small(i16),
    Int(i32),
    Big(i64),
    Text(&'q str),
    Bytes(&'q [u8]),
    Id(Uuid),
}

/// A Rust type that can be bound to a column.
pub trait ColumnValue<'q>: Into<BoundValue<'q>> {
    const KIND: ColumnKind;
}

macro_rules! column_values {
    ($($type:ty => $kind:ident, |$value:ident| $made:expr;)*) => {$(
        impl<'q> From<$type> for BoundValue<'q> {
            fn from($value: $type) -> Self {
                $made
            }
        }

        impl<'q> ColumnValue<'q> for $type {
            const KIND: ColumnKind = ColumnKind::$kind;
        }
    )*};
}

column_values! {
    i64 => Big, |number| Self::Big(number);
    i32 => Int, |number| Self::Int(number);
    i16 => Small, |number| Self::Small(number);
    &'q str => Text, |text| Self::Text(text);
    &'q String => Text, |text| Self::Text(text);
    &'q [u8] => Bytes, |bytes| Self::Bytes(bytes);
    &'q [u8; 32] => Bytes, |bytes| Self::Bytes(bytes);
    Uuid => Id, |id| Self::Id(id);
    Timestamp => Big, |time| Self::Big(time.micros());
    EventId => Id, |id| Self::Id(id.uuid());
    DeliveryId => Id, |id| Self::Id(id.uuid());
    EndpointId => Id, |id| Self::Id(id.uuid());
    FlowId => Id, |id| Self::Id(id.uuid());
    SourceId => Id, |id| Self::Id(id.uuid());
    ModuleId => Id, |id| Self::Id(id.uuid());
    TokenId => Id, |id| Self::Id(id.uuid());
    RequestId => Id, |id| Self::Id(id.uuid());
    DeadLetterId => Id, |id| Self::Id(id.uuid());
    AlertId => Id, |id| Self::Id(id.uuid());
}

impl<'q, T: ColumnValue<'q>> From<Option<T>> for BoundValue<'q> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null(T::KIND), Into::into)
    }
}

impl BoundValue<'_> {
    /// Returns a whole number, regardless of the width with which it was bound.
    pub const fn integer(self) -> Option<i64> {
        match self {
            Self::Small(number) => Some(number as i64),
            Self::Int(number) => Some(number as i64),
            Self::Big(number) => Some(number),
            Self::Null(_) | Self::Text(_) | Self::Bytes(_) | Self::Id(_) => None,
        }
    }
}

/// The values of a row, or of a statement's parameters, in order.
#[derive(Debug, Default)]
pub struct BoundRow<'q>(Vec<BoundValue<'q>>);

/// Number of columns of the widest row, so that binding never reallocates.
const MOST_COLUMNS: usize = 17;

impl<'q> BoundRow<'q> {
    pub fn new() -> Self {
        Self(Vec::with_capacity(MOST_COLUMNS))
    }

    pub fn bind(mut self, value: impl Into<BoundValue<'q>>) -> Self {
        self.0.push(value.into());
        self
    }

    pub fn values(&self) -> &[BoundValue<'q>] {
        &self.0
    }

    /// Returns the value of a column, counted from 0.
    pub fn get(&self, column: usize) -> Option<BoundValue<'q>> {
        self.0.get(column).copied()
    }
}
