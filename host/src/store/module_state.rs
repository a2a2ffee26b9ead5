//! What modules look up while they run: the state of their flow, and records.

use super::db::{FromStoredRow, SqlQuery, StoredRow};
use super::{EventStore, StoreError, statements};
use crate::model::id::FlowId;
use crate::model::plan_effects::{StateAddress, StateValue};
use crate::model::record::{Record, record_ordinal};
use crate::model::record_fields::read_field;
use crate::time::timestamp::Timestamp;
use std::ops::ControlFlow;

/// Which records to look up.
#[derive(Debug, Clone)]
pub struct RecordLookup {
    /// The name of their source.
    pub source: String,
    pub resource: String,
    /// The indexed field; `None` looks for the id.
    pub field: Option<String>,
    /// What the field, or the id, must be.
    pub value: String,
    /// How many at most.
    pub limit: u32,
}

/// A record that was looked up.
#[derive(Debug, Clone)]
pub struct FoundRecord {
    /// Its id at its source.
    pub id: String,
    pub updated_at: Timestamp,
    /// Its fields, a JSON text.
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
    /// What stands at a place in the state of a flow, expired or not.
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

    /// How many keys the state of a flow has; no more than `most` are counted.
    pub async fn count_state_keys(&self, flow: FlowId, most: u32) -> Result<u32, StoreError> {
        let query = SqlQuery::new(statements::COUNT_STATE).bind(flow).bind(i64::from(most));
        let count: i64 = self.pool().fetch_value(query).await?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// What a module has counted: counter and value, in the order of the names.
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
