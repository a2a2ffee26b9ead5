//! Sources of kind `database`: reads a CRM's database, or custom tables ([`custom`]).
//!
//! ```text
//!   for each table of a CRM, in chunks of keys, each in one read-only snapshot:
//!   row ──► same hash as the stored row? ──► yes: only a date that has come can lead to an event
//!                                        └─► no:  crm::derive ──► capture events and store the row
//!   stored row that is not in the chunk's range of keys ──► deleted
//! ```
//!
//! [`crate::crm`] decides which events follow from a change in a CRM; it does no I/O. This module
//! has the SQL ([`crm`], over [`mysql`]), the order of the steps, and what is stored between runs.
//!
//! **Which rows are new.** The first run stores the greatest key of each table. Rows up to that key
//! existed before. All others are new, even those that appear while the first run is still reading.
//! A first run that is interrupted continues where it stopped.
//!
//! **Load on the database.** There is one connection, and one chunk at a time, bounded in rows and
//! bytes. Between two chunks the run pauses for as long as the database took for the first, so it
//! takes about half of one core of the database server ([`pace`]).
//!
//! Guaranteed: a change that was committed before a run began, and that is still visible, is
//! captured by that run. Not guaranteed: a change that was undone before the next run.

pub mod chunk;
pub mod crm;
pub mod custom;
pub mod mysql;
pub mod pace;
pub mod postgres;
pub mod row_by_row;
pub mod scan;

use super::RunFailed;
use super::run::SourceRun;
use crate::crm::derive::{self, DerivedEvent, RuleContext, ScanPurpose};
use crate::crm::known::{KnownRows, RowReference};
use crate::crm::options::CrmOptions;
use crate::crm::row::{CellValue, CrmRow};
use crate::crm::rules::{EventRule, RuleData};
use crate::crm::snapshot::ColumnLayouts;
use crate::crm::tables::{self, CrmTable};
use crate::crypto::digest::ShortDigest;
use crate::ingest::incoming::IncomingEvent;
use crate::model::database_source::DatabaseSettings;
use crate::model::event::EventChanges;
use crate::model::source::Source;
use crate::store;
use crate::store::EventStore;
use crate::store::KeyRange;
use crate::store::sources::SourceState;
use crate::time::clock::Clock;
use crate::time::cron;
use crm::{CrmConnection, DatabaseShape};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use scan::CrmScan;
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Returns the IPv6 address in brackets at the beginning of a URL's host, without the brackets.
fn ipv6(place: &str) -> Option<&str> {
    Some(place.strip_prefix('[')?.split_once(']')?.0)
}

/// What is stored between two runs.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DatabaseMemory {
    /// About the CRM's tables, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tables: BTreeMap<String, TableMemory>,
    /// About custom tables, by the name under which their rows are stored.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    own: BTreeMap<String, OwnMemory>,
}

impl DatabaseMemory {
    fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What is stored about a custom table between two runs.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
struct OwnMemory {
    /// Whether the keys that existed before the first run are stored.
    begun: bool,
    /// See [`TableMemory::new_revision`].
    new_revision: u32,
}

/// What is stored about a table of the CRM between two runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableMemory {
    /// The greatest key at the beginning of the first run.
    first_to: i64,
    /// The key up to which the first run has read. `None` once it is finished.
    first_at: Option<i64>,
    /// The columns of the stored rows.
    layouts: String,
    /// The revision of a new row. It is above those of all deleted rows, so that a row that gets
    /// the key of a deleted one leads to events with other ids.
    new_revision: u32,
}

/// The clock and the time zone of a CRM.
#[derive(Debug)]
pub struct CrmTime {
    zone: TimeZone,
    clock: Clock,
}

impl CrmTime {
    /// Uses the configured zone, or else the one in the CRM's own settings.
    fn new(
        settings: &DatabaseSettings,
        options: &CrmOptions,
        clock: &Clock,
    ) -> Result<Self, RunFailed> {
        let name = settings.time_zone.as_deref().or(options.default_timezone.as_deref());
        Ok(Self { zone: cron::read_zone(name).map_err(RunFailed::new)?, clock: clock.clone() })
    }

    /// Returns the present time in the CRM's time zone.
    fn now(&self) -> DateTime {
        let now = jiff::Timestamp::from_microsecond(self.clock.now().micros()).unwrap_or_default();
        self.zone.to_datetime(now)
    }
}

/// Runs the source once.
pub async fn run_database(run: &SourceRun, settings: &DatabaseSettings) -> Result<(), RunFailed> {
    if !settings.own_tables.is_empty() {
        return custom::run_custom(run, settings).await;
    }
    let mut crm = CrmConnection::connect(settings, run.secret()).await?;
    let shape = crm.shape().await?;
    let options = crm.options(&shape).await?;
    if settings.time_zone.is_none() && options.default_timezone.is_none() {
        run.add_warning(
            "the CRM does not say its time zone, so UTC is taken; set `time_zone`".to_owned(),
        );
    }
    let time = CrmTime::new(settings, &options, run.journal().clock())?;
    let (tables, warnings) = readable(settings, &shape)?;
    for warning in warnings {
        run.add_warning(warning);
    }
    let memory = DatabaseMemory::read(&run.memory);
    let (looked_into, failed) = (Vec::new(), Vec::new());
    let mut scan =
        CrmScan { run, settings, crm, shape, options, time, memory, looked_into, failed };
    scan.begin_scan(&tables).await?;
    for n in 0..tables.len() {
        let read = scan.read_table(&tables, n).await;
        scan.note_failure(tables.get(n).map_or("", |table| table.name), read).await?;
    }
    scan.end_scan().await
}

/// Returns the tables that can be read, and a warning for each table or column that is missing.
fn readable(
    settings: &DatabaseSettings,
    shape: &DatabaseShape,
) -> Result<(Vec<&'static CrmTable>, Vec<String>), RunFailed> {
    let wanted = |table: &&CrmTable| {
        settings.tables.is_empty() || settings.tables.iter().any(|name| name == table.name)
    };
    let (mut found, mut warnings) = (Vec::new(), Vec::new());
    for table in tables::ALL.iter().copied().filter(wanted) {
        let name = format!("{}{}", settings.prefix, table.name);
        let Some(existing) = shape.columns(table.name) else {
            if !table.newer_table {
                warnings.push(format!("there is no table `{name}`, so its events are missing"));
            }
            continue;
        };
        let missing = table.missing_in(existing);
        if missing.contains(&table.key) {
            warnings
                .push(format!("table `{name}` has no column `{}`, so it is not read", table.key));
            continue;
        }
        if !missing.is_empty() {
            let missing = missing.join(", ");
            warnings.push(format!(
                "table `{name}` has no column {missing}; events that need it are missing"
            ));
        }
        found.push(table);
    }
    if found.is_empty() {
        let prefix = &settings.prefix;
        return Err(RunFailed::new(format!(
            "the database has none of the CRM's tables with the prefix `{prefix}`, or the user may not read \
             them; set `prefix`, or grant SELECT"
        )));
    }
    Ok((found, warnings))
}

/// Returns an event that the newest row of a table would lead to. Stores nothing.
pub async fn sample_event(
    settings: &DatabaseSettings,
    source: &Source,
    secret: Option<&str>,
    clock: &Clock,
) -> Result<IncomingEvent, RunFailed> {
    if !settings.own_tables.is_empty() {
        return custom::sample_event(settings, source, secret).await;
    }
    let mut crm = CrmConnection::connect(settings, secret).await?;
    let shape = crm.shape().await?;
    let options = crm.options(&shape).await?;
    let time = CrmTime::new(settings, &options, clock)?;
    let (tables, _) = readable(settings, &shape)?;
    // Records that everybody has, before lists of statuses.
    let (records, lookups): (Vec<_>, Vec<_>) =
        tables.into_iter().partition(|table| table.has_clock());
    for table in records.into_iter().chain(lookups) {
        let Some(row) = crm.newest(&shape, table).await? else { continue };
        let context = RuleContext {
            now: time.now(),
            options: &options,
            pass: ScanPurpose::Changes,
            new_revision: 0,
        };
        let references = derive::change_references(table, None, Some(&row));
        let known = look_up(&mut crm, &shape, &references).await?;
        let told = derive::derive_events(table, None, Some(&row), &context, &known);
        if let Some(event) = told.events.into_iter().next() {
            return Ok(incoming(event, source));
        }
    }
    Err(RunFailed::new("the database can be read, but all its tables are empty"))
}

/// Returns the CRM's tables whose rows are records of this resource, with the row's key as the id.
pub fn tables_of(resource: &str) -> impl Iterator<Item = &'static str> {
    let is_record = move |rule: &&EventRule| {
        rule.resource() == resource && matches!(rule.data, RuleData::Record)
    };
    let tables = tables::ALL.iter();
    tables
        .filter(move |table| table.rules.iter().any(|rule| is_record(&rule)))
        .map(|table| table.name)
}

/// Returns the beginnings of the names under which rows of custom tables with this resource are
/// stored.
pub fn own_lists_of(settings: &DatabaseSettings, resource: &str) -> Vec<String> {
    let own = settings.own_tables.iter().filter(|own| own.resource() == resource);
    own.map(custom::list_prefix).collect()
}

/// Whether the source reads the table whose rows are stored under this name.
pub fn reads_list(settings: &DatabaseSettings, name: &str) -> bool {
    let is_own = |own| name.starts_with(&custom::list_prefix(own));
    tables::find_table(name).is_some() || settings.own_tables.iter().any(is_own)
}

/// Whether the rows stored under this name belong to a custom table.
pub fn is_own_list(name: &str) -> bool {
    name.starts_with("own ")
}

/// Finds the rows of other tables that a row's event refers to.
async fn look_up(
    crm: &mut CrmConnection,
    shape: &DatabaseShape,
    references: &[RowReference],
) -> Result<KnownRows, RunFailed> {
    let mut known = KnownRows::default();
    for name in tables::LOOKED_INTO {
        let Some(table) = tables::find_table(name) else { continue };
        for row in crm.all(shape, table).await? {
            known.put_row(name, row);
        }
    }
    for (reference, rows) in crm.look_up(shape, references).await? {
        known.put(reference, rows);
    }
    for (reference, rows) in crm.look_up(shape, &known.further_references()).await? {
        known.put(reference, rows);
    }
    Ok(known)
}

/// Returns the stored rows of a table, as key and content.
pub async fn kept(
    journal: &EventStore,
    state: &SourceState,
    table: &str,
) -> Result<Vec<(String, Map<String, Value>)>, store::StoreError> {
    let memory = DatabaseMemory::read(&state.memory);
    let (Some(table), Some(known)) = (tables::find_table(table), memory.tables.get(table)) else {
        return Ok(Vec::new());
    };
    let layouts = ColumnLayouts::parse(table, &known.layouts);
    let content = |row: &CrmRow| {
        let field = |(column, cell): (&Cow<'static, str>, &CellValue)| {
            (column.clone().into_owned(), cell.text().map_or(Value::Null, Value::from))
        };
        row.iter().map(field).collect()
    };
    let heads = journal.list_row_heads(state.source, table.name, KeyRange::ALL).await?;
    let keys: Vec<i64> = heads.iter().map(|head| head.key).collect();
    let rows = journal.find_kept_rows(state.source, table.name, &keys).await?;
    let shown = rows.into_iter().map(|row| {
        let key = row.head.key.to_string();
        let content = content(&layouts.decode_row(table, &key, &row.cells));
        (key, content)
    });
    Ok(shown.collect())
}

fn incoming(event: DerivedEvent, source: &Source) -> IncomingEvent {
    let written = |(field, value)| (field, to_raw_value(&value).unwrap_or_default());
    let previous = event.previous.into_iter().map(written).collect();
    let changes = EventChanges { changed: event.changed, previous };
    let is_update = !changes.changed.is_empty();
    let data = to_raw_value(&event.data).unwrap_or_default();
    IncomingEvent {
        // Another source of the same name is another source.
        id: Some(ShortDigest::of([source.id.to_string(), event.id]).to_string()),
        source: Some(source.settings.name.clone()),
        resource: Some(event.resource.to_owned()),
        resource_id: Some(event.resource_id),
        changes: if is_update { to_raw_value(&changes).ok() } else { None },
        second_name: event.alias_of.is_some(),
        ..IncomingEvent::new(event.event_type, data)
    }
}
