//! What modules look up while they run: the state of their flow, and records.

use super::db::{FromStoredRow, SqlQuery, StoredRow};
use super::{EventStore, StoreError, statements};
use crate::model::id::FlowId;
use crate::model::plan_effects::{StateAddress, StateValue};
use crate::model::record::{Record, record_ordinal};
use crate::model::record_fields::read_field;
use crate::time::timestamp::Timestamp;

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

    /// Records that a module looks up, the newest change first; `None` while the index on the field is
    /// being filled.
    pub async fn look_up_records(
        &self,
        lookup: &RecordLookup,
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
            let mut found: Vec<Record> = self.pool().fetch_all(query).await?;
            // The field may have lost the value since.
            found.retain(|record| read_field(&record.data, field).as_ref() == Some(value));
            return Ok(Some(found.into_iter().map(FoundRecord::from).collect()));
        }
        let query = SqlQuery::new(statements::SELECT_RECORD)
            .bind(resource)
            .bind(record_ordinal(value))
            .bind(value)
            .bind(source)
            .bind(i64::from(*limit));
        let found: Vec<Record> = self.pool().fetch_all(query).await?;
        Ok(Some(found.into_iter().map(FoundRecord::from).collect()))
    }
}
