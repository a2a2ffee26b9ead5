//! Lookups of running modules: the state of their flow, and records.

use super::db::{FromStoredRow, SqlQuery, StoredRow};
use super::{EventStore, StoreError, statements};
use crate::model::id::FlowId;
use crate::model::plan_effects::{StateAddress, StateValue};
use crate::model::record::{Record, record_ordinal};
use crate::model::record_fields::read_field;
use crate::time::timestamp::Timestamp;
use std::ops::ControlFlow;

/// A query of a module for records.
#[derive(Debug, Clone)]
pub struct RecordLookup {
    /// Name of the records' source.
    pub source: String,
    pub resource: String,
    /// The indexed field to compare. `None` compares the record's id.
    pub field: Option<String>,
    /// The value that the field, or the id, must have.
    pub value: String,
    /// Largest number of records to return.
    pub limit: u32,
}

/// A record that a lookup found.
#[derive(Debug, Clone)]
pub struct FoundRecord {
    /// The record's id at its source.
    pub id: String,
    pub updated_at: Timestamp,
    /// The record's fields as JSON.
    pub data: String,
}

impl FoundRecord {
    /// Returns what the record adds to the bytes that a run has read.
    pub const fn size(&self) -> usize {
        self.id.len() + self.data.len()
    }
}

impl FromStoredRow for StateValue {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { text: row.get("value")?, expires_at: row.get("expires_at")? })
    }
}

struct CounterValue {
    name: String,
    value: i64,
}

impl FromStoredRow for CounterValue {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { name: row.get("name")?, value: row.get("value")? })
    }
}

impl From<Record> for FoundRecord {
    fn from(record: Record) -> Self {
        let data = record.data.get().to_owned();
        Self { id: record.resource_id, updated_at: record.updated_at, data }
    }
}

impl EventStore {
    /// Returns the value at an address of a flow's state, even if it has expired.
    pub async fn read_state(
        &self,
        flow: FlowId,
        address: &StateAddress,
    ) -> Result<Option<StateValue>, StoreError> {
        let query = SqlQuery::new(statements::SELECT_STATE)
            .bind(flow)
            .bind(&address.scope)
            .bind(&address.key);
        self.pool().fetch_optional(query).await
    }

    /// Counts the keys in a flow's state. The count stops at `most`.
    pub async fn count_state_keys(&self, flow: FlowId, most: u32) -> Result<u32, StoreError> {
        let query = SqlQuery::new(statements::COUNT_STATE).bind(flow).bind(i64::from(most));
        let count: i64 = self.pool().fetch_value(query).await?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Returns the counters of a module with their values, sorted by name.
    pub async fn list_counters(&self, module: &str) -> Result<Vec<(String, i64)>, StoreError> {
        let query = SqlQuery::new(statements::COUNTERS_OF_MODULE).bind(module);
        let counters: Vec<CounterValue> = self.pool().fetch_all(query).await?;
        Ok(counters.into_iter().map(|counter| (counter.name, counter.value)).collect())
    }

    /// Returns the records that a module looks up, the newest change first, or `None` while the
    /// index on the field is being filled. Reading ends with the record that exceeds `most_bytes`.
    pub async fn look_up_records(
        &self,
        lookup: &RecordLookup,
        most_bytes: usize,
    ) -> Result<Option<Vec<FoundRecord>>, StoreError> {
        let RecordLookup { source, resource, field, value, limit } = lookup;
        if let Some(field) = field {
            if !self.is_indexed(resource, field).await? {
                return Ok(None);
            }
            let query = SqlQuery::new(statements::FIND_RECORDS_BY_FIELD)
                .bind(resource)
                .bind(field)
                .bind(value)
                .bind(source)
                .bind(i64::from(*limit));
            let wanted = Some((field.clone(), value.clone()));
            return self.read_records(query, wanted, most_bytes).await.map(Some);
        }
        let query = SqlQuery::new(statements::SELECT_RECORD)
            .bind(resource)
            .bind(record_ordinal(value))
            .bind(value)
            .bind(source)
            .bind(i64::from(*limit));
        self.read_records(query, None, most_bytes).await.map(Some)
    }

    /// Reads records whose field has the wanted value, if one is wanted. The field may have lost it
    /// since it was indexed.
    async fn read_records(
        &self,
        query: SqlQuery<'_>,
        wanted: Option<(String, String)>,
        most_bytes: usize,
    ) -> Result<Vec<FoundRecord>, StoreError> {
        let mut bytes_read = 0;
        let take = move |found: &mut Vec<FoundRecord>, record: Record| {
            let fits = wanted.as_ref().is_none_or(|(field, value)| {
                read_field(&record.data, field).as_ref() == Some(value)
            });
            if fits {
                found.push(FoundRecord::from(record));
                bytes_read += found.last().map_or(0, FoundRecord::size);
            }
            if bytes_read > most_bytes { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        self.pool().fetch_while(query, Vec::new(), take).await
    }
}
