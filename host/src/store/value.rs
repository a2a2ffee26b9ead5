//! Rows on their way into the database.

use sqlx::types::Uuid;

/// A value to be bound.
#[derive(Debug, Clone, Copy)]
pub enum BoundValue<'q> {
    Null,
    Integer(i64),
    Text(&'q str),
    Bytes(&'q [u8]),
    Id(Uuid),
}

macro_rules! values {
    ($($type:ty => |$value:ident| $made:expr;)*) => {$(
        impl<'q> From<$type> for BoundValue<'q> {
            fn from($value: $type) -> Self {
                $made
            }
        }
    )*};
}

values! {
    i64 => |number| Self::Integer(number);
    i32 => |number| Self::Integer(number.into());
    i16 => |number| Self::Integer(number.into());
    &'q str => |text| Self::Text(text);
    &'q [u8] => |bytes| Self::Bytes(bytes);
    Uuid => |id| Self::Id(id);
}

impl<T: Into<Self>> From<Option<T>> for BoundValue<'_> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The values of a row, or of a statement's parameters, in order.
#[derive(Debug, Default)]
pub struct BoundRow<'q>(Vec<BoundValue<'q>>);

/// Most columns that a row has.
const COLUMNS: usize = 17;

impl<'q> BoundRow<'q> {
    /// Without values.
    pub fn new() -> Self {
        Self(Vec::with_capacity(COLUMNS))
    }

    /// The next value.
    pub fn bind(mut self, value: impl Into<BoundValue<'q>>) -> Self {
        self.0.push(value.into());
        self
    }

    pub fn values(&self) -> &[BoundValue<'q>] {
        &self.0
    }

    /// The value of that number, from 0.
    pub fn get(&self, column: usize) -> BoundValue<'q> {
        self.0.get(column).copied().unwrap_or(BoundValue::Null)
    }
}
