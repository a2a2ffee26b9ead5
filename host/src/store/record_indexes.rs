//! Indexes on fields of records, which modules use for lookups. Captures keep them up to date
//! ([`crate::store::commit`]). This file adds the existing records to a new index and drops indexes
//! that are no longer wanted.

use super::db::{BoundRow, FromStoredRow, SqlQuery, StoredRow};
use super::query::records::{PageStart, RecordFilter};
use super::{EventStore, StoreError, statements};
use crate::model::capability_grants::RecordIndex;
use crate::model::record::{Record, RecordOrder, RecordPosition};
use crate::model::record_fields::read_field;
use std::collections::BTreeSet;

/// Number of records that are added to an index together.
const PAGE: u32 = 500;

impl FromStoredRow for RecordIndex {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { resource: row.get("resource")?, field: row.get("field")? })
    }
}

/// A row of an index.
struct FieldRow {
    ordinal: i64,
    resource_id: String,
    source: String,
    value: String,
}

impl EventStore {
    /// Returns whether an index contains the existing records.
    pub async fn is_indexed(&self, resource: &str, field: &str) -> Result<bool, StoreError> {
        let query = SqlQuery::new(statements::IS_INDEXED).bind(resource).bind(field);
        Ok(self.pool().find_value::<i64>(query).await?.is_some())
    }

    /// Fills the wanted indexes and drops the others.
    pub async fn keep_indexes(&self, wanted: &BTreeSet<RecordIndex>) -> Result<(), StoreError> {
        let query = SqlQuery::new(statements::SELECT_INDEXES);
        let kept: Vec<RecordIndex> = self.pool().fetch_all(query).await?;
        let kept: BTreeSet<RecordIndex> = kept.into_iter().collect();
        for index in kept.difference(wanted) {
            self.drop_index(index).await?;
        }
        for index in wanted.difference(&kept) {
            self.fill_index(index).await?;
        }
        Ok(())
    }

    async fn drop_index(&self, index: &RecordIndex) -> Result<(), StoreError> {
        for text in [statements::DELETE_INDEX, statements::DELETE_INDEX_ROWS] {
            let query = SqlQuery::new(text).bind(&index.resource).bind(&index.field);
            self.pool().execute(query).await?;
        }
        Ok(())
    }

    async fn fill_index(&self, index: &RecordIndex) -> Result<(), StoreError> {
        let filter = RecordFilter { resource: index.resource.clone(), ..RecordFilter::default() };
        let mut last: Option<RecordPosition> = None;
        loop {
            let start = last.as_ref().map_or(PageStart::Offset(0), PageStart::After);
            let page = self.list_records(&filter, RecordOrder::Id, start, PAGE).await?.rows;
            let Some(end) = page.last() else { break };
            last = Some(RecordPosition {
                order: RecordOrder::Id,
                at: 0,
                ordinal: end.ordinal,
                resource_id: end.resource_id.clone(),
                source: end.source.clone(),
            });
            self.fill_rows(index, &page).await?;
        }
        let filled = SqlQuery::new(statements::PUT_INDEX)
            .bind(&index.resource)
            .bind(&index.field)
            .bind(self.clock().now());
        self.pool().execute(filled).await.map(drop)
    }

    async fn fill_rows(&self, index: &RecordIndex, page: &[Record]) -> Result<(), StoreError> {
        let row = |record: &Record| {
            Some(FieldRow {
                ordinal: record.ordinal,
                resource_id: record.resource_id.clone(),
                source: record.source.clone(),
                value: read_field(&record.data, &index.field)?,
            })
        };
        let (index, rows): (RecordIndex, Vec<FieldRow>) =
            (index.clone(), page.iter().filter_map(row).collect());
        let filled = self.pool().write(move |tx| {
            Box::pin(async move {
                let bound = rows.iter().map(|row| {
                    BoundRow::new()
                        .bind(index.resource.as_str())
                        .bind(index.field.as_str())
                        .bind(row.ordinal)
                        .bind(row.resource_id.as_str())
                        .bind(row.source.as_str())
                        .bind(row.value.as_str())
                        .bind(0_i16)
                });
                tx.execute_bulk(&statements::FILL_RECORD_FIELD, bound.collect()).await
            })
        });
        filled.await.map(drop)
    }
}
