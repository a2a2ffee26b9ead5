//! The latest state of every record, for those who poll.
//!
//! A row names the event that holds the record's state and is written in the commit that captures the
//! event, so a record is never older than what was acknowledged. The state itself is not
//! written twice.

use super::batch::Batch;
use super::capture::Capture;
use super::pool::reading;
use super::value::Row;
use super::{Error, Journal, row, statements};
use crate::domain::record::{Order, Record};
use crate::domain::time::Timestamp;
use sqlx::types::Uuid;
use std::collections::BTreeMap;

/// Which records to list.
#[derive(Debug, Clone, Default)]
pub struct RecordFilter {
    /// Of this resource.
    pub resource: String,
    /// Only from this source.
    pub source: Option<String>,
    /// Only those heard of then or later.
    pub since: Option<Timestamp>,
}

type RecordRow = (String, String, i64, String);

impl Journal {
    /// Records in an order, some of them left out at the beginning.
    pub async fn records(
        &self,
        filter: &RecordFilter,
        order: Order,
        offset: u32,
        limit: u32,
    ) -> Result<Vec<Record>, Error> {
        let text = match order {
            Order::Newest => statements::SELECT_RECORDS_NEWEST,
            Order::Oldest => statements::SELECT_RECORDS_OLDEST,
            Order::Id => statements::SELECT_RECORDS_BY_ID,
            Order::IdDescending => statements::SELECT_RECORDS_BY_ID_DESCENDING,
        };
        let rows: Vec<RecordRow> = reading!(self.pool(), |db| sqlx::query_as(text)
            .bind(&filter.resource)
            .bind(filter.source.as_deref())
            .bind(filter.since.map_or(i64::MIN, Timestamp::micros))
            .bind(i64::from(limit))
            .bind(i64::from(offset))
            .fetch_all(db)
            .await?);
        rows.into_iter().map(record).collect()
    }

    /// One record; of several sources that number alike, the one last heard of.
    pub async fn record(
        &self,
        filter: &RecordFilter,
        resource_id: &str,
    ) -> Result<Option<Record>, Error> {
        let ordinal: i64 = resource_id.parse().unwrap_or(0);
        let row: Option<RecordRow> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_RECORD)
                .bind(&filter.resource)
                .bind(ordinal)
                .bind(resource_id)
                .bind(filter.source.as_deref())
                .fetch_optional(db)
                .await?);
        row.map(record).transpose()
    }

    /// How many records there are, counted up to a bound.
    pub async fn count_records(&self, filter: &RecordFilter, most: u32) -> Result<u64, Error> {
        let (count,): (i64,) =
            reading!(self.pool(), |db| sqlx::query_as(statements::COUNT_RECORDS)
                .bind(&filter.resource)
                .bind(filter.source.as_deref())
                .bind(filter.since.map_or(i64::MIN, Timestamp::micros))
                .bind(i64::from(most))
                .fetch_one(db)
                .await?);
        Ok(count.unsigned_abs())
    }
}

fn record((resource_id, source, updated_at, data): RecordRow) -> Result<Record, Error> {
    let updated_at = Timestamp::from_micros(updated_at);
    Ok(Record { resource_id, source, updated_at, data: row::raw(data, "event", "data")? })
}

/// Writes what the captures say of their records.
pub(super) async fn write(tx: &mut Batch<'_>, captures: &[&mut Capture]) -> Result<(), Error> {
    let captures: Vec<&Capture> = captures.iter().map(|capture| &**capture).collect();
    tx.run(&statements::PUT_RECORD, rows(&captures)).await.map(drop)
}

/// A record's place: resource, ordinal, id and source.
type Place<'q> = (&'q str, i64, &'q str, &'q str);

/// What several captures say of one record.
struct State {
    event: Uuid,
    whole: bool,
    updated_at: Timestamp,
    deleted: bool,
}

/// One row for each record, in one order everywhere, so that two writers cannot wait for each other.
pub(super) fn rows<'q>(captures: &[&'q Capture]) -> Vec<Row<'q>> {
    let mut states: BTreeMap<Place<'q>, State> = BTreeMap::new();
    for capture in captures {
        let Some((place, state)) = state(capture) else { continue };
        let known = states.remove(&place).filter(|known| known.whole && !state.whole);
        let state = match known {
            Some(known) => State { event: known.event, whole: true, ..state },
            None => state,
        };
        states.insert(place, state);
    }
    states.into_iter().map(|(place, state)| record_row(place, &state)).collect()
}

fn state(capture: &Capture) -> Option<(Place<'_>, State)> {
    let (change, event) = (capture.record?, &capture.event);
    let (resource, id) = (event.resource.as_deref()?, event.resource_id.as_deref()?);
    let state = State {
        event: event.id.uuid(),
        whole: change.whole,
        updated_at: event.received_at,
        deleted: change.deleted,
    };
    Some(((resource, change.ordinal, id, event.source.as_str()), state))
}

fn record_row<'q>((resource, ordinal, id, source): Place<'q>, state: &State) -> Row<'q> {
    let updated_at = state.updated_at.micros();
    Row::new()
        .bind(resource)
        .bind(ordinal)
        .bind(id)
        .bind(source)
        .bind(state.event)
        .bind(i16::from(state.whole))
        .bind(updated_at)
        .bind(state.deleted.then_some(updated_at))
}
