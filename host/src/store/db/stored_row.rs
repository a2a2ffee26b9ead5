//! Reads rows of the database by the names of their columns.

use crate::model::id::{
    AlertId, DeadLetterId, DeliveryId, EndpointId, EventId, FlowId, ModuleId, RequestId, SourceId,
    TokenId,
};
use crate::store::StoreError;
use crate::store::error::database_error::corrupt_value;
use crate::time::timestamp::Timestamp;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

/// A row that either database returned.
#[derive(Debug)]
pub enum StoredRow<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r PgRow),
}

/// A value that can be read from a row. An error names the column whose value is not valid.
pub trait FromStoredRow: Sized {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError>;
}

/// A type that can be read from a column.
pub trait FromStoredColumn: Sized {
    fn from_column(row: &StoredRow<'_>, name: &'static str) -> Result<Self, StoreError>;
}

impl StoredRow<'_> {
    /// Returns the value of the named column.
    pub fn get<T: FromStoredColumn>(&self, name: &'static str) -> Result<T, StoreError> {
        T::from_column(self, name)
    }
}

/// Reads nothing from the row, if only its existence matters.
impl FromStoredRow for () {
    fn from_row(_row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(())
    }
}

macro_rules! stored_columns {
    ($($type:ty)*) => {$(
        impl FromStoredColumn for $type {
            fn from_column(row: &StoredRow<'_>, name: &'static str) -> Result<Self, StoreError> {
                match row {
                    StoredRow::Sqlite(row) => {
                        row.get(name).map_err(|error| corrupt_value("query", name, &error))
                    }
                    StoredRow::Postgres(row) => {
                        row.try_get(name).map_err(|error| corrupt_value("query", name, &error))
                    }
                }
            }
        }
    )*};
}

stored_columns! {
    bool i16 i32 i64 String Uuid Vec<u8>
    Option<i16> Option<i32> Option<i64> Option<String> Option<Uuid> Option<Vec<u8>>
}

macro_rules! converted_columns {
    ($($type:ty = $stored:ty, $convert:path;)*) => {$(
        impl FromStoredColumn for $type {
            fn from_column(row: &StoredRow<'_>, name: &'static str) -> Result<Self, StoreError> {
                <$stored>::from_column(row, name).map($convert)
            }
        }

        impl FromStoredColumn for Option<$type> {
            fn from_column(row: &StoredRow<'_>, name: &'static str) -> Result<Self, StoreError> {
                Ok(Option::<$stored>::from_column(row, name)?.map($convert))
            }
        }
    )*};
}

converted_columns! {
    Timestamp = i64, Timestamp::from_micros;
    EventId = Uuid, EventId::from_uuid;
    DeliveryId = Uuid, DeliveryId::from_uuid;
    EndpointId = Uuid, EndpointId::from_uuid;
    FlowId = Uuid, FlowId::from_uuid;
    SourceId = Uuid, SourceId::from_uuid;
    ModuleId = Uuid, ModuleId::from_uuid;
    TokenId = Uuid, TokenId::from_uuid;
    RequestId = Uuid, RequestId::from_uuid;
    DeadLetterId = Uuid, DeadLetterId::from_uuid;
    AlertId = Uuid, AlertId::from_uuid;
}
