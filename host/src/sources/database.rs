//! Reading a database: a CRM's, or tables that are named ([`custom`]).
//!
//! ```text
//!   for each table of a CRM, a chunk of keys after another, each in one read-only snapshot:
//!   rows ──► same hash as kept? ──► yes: only the clock can have brought something
//!                               └─► no:  crm::derive ──► capture, and keep the rows
//!   kept, and not read in the chunk's range of keys ──► gone
//! ```
//!
//! What follows from a change in a CRM is told by [`crate::crm`], which is pure. Here are the SQL
//! ([`crm`], over [`mysql`]), the order of things, and what is remembered.
//!
//! **From when on.** The first run notes for each table the greatest key there is. Rows up to that
//! are what was there; all others are new, also those that come while the first run is still
//! reading. A first run that is interrupted goes on where it was.
//!
//! **The load.** One connection, one chunk at a time, bounded in rows and in bytes, and between two
//! chunks of a table as long a rest as the database took for the first, so about half of one of its
//! cores ([`pace`]).
//!
//! Guaranteed: what was committed before a run began, and is still there or left a trace, is
//! captured by that run. Not guaranteed: what changed and changed back between two runs.

pub mod chunk;
pub mod crm;
pub mod custom;
pub mod mysql;
pub mod pace;
pub mod postgres;
pub mod scan;

use super::RunFailed;
use super::run::SourceRun;
use crate::crm::derive::{self, DerivedEvent, RuleContext, ScanPurpose};
use crate::crm::known::{KnownRows, RowReference};
use crate::crm::options::CrmOptions;
use crate::crm::row::{CellValue, CrmRow};
use crate::crm::rules::{Data, Rule};
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

/// The address in brackets that a place begins with: what a connection takes without them.
fn ipv6(place: &str) -> Option<&str> {
    Some(place.strip_prefix('[')?.split_once(']')?.0)
}

/// What it remembers.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DatabaseMemory {
    /// Of the CRM's tables.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tables: BTreeMap<String, TableMemory>,
    /// Of other tables, by the list that their rows are kept under.
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

/// What it remembers of a table that is none of the CRM's.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
struct OwnMemory {
    /// Whether the source has begun with it: what was there is noted.
    begun: bool,
    /// As of [`TableMemory`].
    new_revision: u32,
}

/// What it remembers of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableMemory {
    /// The greatest key when the first run began.
    first_to: i64,
    /// How far the first run is; none once it is done.
    first_at: Option<i64>,
    /// The columns that rows were kept with.
    layouts: String,
    /// The revision that a new row has: above that of any row that is gone, so that one that comes
    /// again under the same key is told under other ids.
    new_revision: u32,
}

/// The times of a CRM.
#[derive(Debug)]
pub struct CrmTime {
    zone: TimeZone,
    clock: Clock,
}

impl CrmTime {
    /// In the zone that is set, else in the one that the CRM says it uses.
    fn new(
        settings: &DatabaseSettings,
        options: &CrmOptions,
        clock: &Clock,
    ) -> Result<Self, RunFailed> {
        let name = settings.time_zone.as_deref().or(options.default_timezone.as_deref());
        Ok(Self { zone: cron::read_zone(name).map_err(RunFailed::new)?, clock: clock.clone() })
    }

    /// Now, as the CRM's columns have it.
    fn now(&self) -> DateTime {
        let now = jiff::Timestamp::from_microsecond(self.clock.now().micros()).unwrap_or_default();
        self.zone.to_datetime(now)
    }
}

/// Reads every table.
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

/// The tables that can be read, and why others cannot.
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
                warnings.push(format!("there is no table `{name}`, so its events cannot be told"));
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

/// An event that the newest row of a table would make.
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
    Err(RunFailed::new("the database answers well, and its tables are empty"))
}

/// The CRM's tables whose rows are records of this resource under their own keys.
pub fn tables_of(resource: &str) -> impl Iterator<Item = &'static str> {
    let is_record =
        move |rule: &&Rule| rule.resource() == resource && matches!(rule.data, Data::Record);
    let tables = tables::ALL.iter();
    tables
        .filter(move |table| table.rules.iter().any(|rule| is_record(&rule)))
        .map(|table| table.name)
}

/// How the names of the lists begin under which rows of other tables are kept that make this
/// resource.
pub fn own_lists_of(settings: &DatabaseSettings, resource: &str) -> Vec<String> {
    let own = settings.own_tables.iter().filter(|own| own.resource() == resource);
    own.map(custom::list_prefix).collect()
}

/// Whether rows are kept under that name that are read: of the CRM, or of a table of its own.
pub fn reads_list(settings: &DatabaseSettings, name: &str) -> bool {
    let is_own = |own| name.starts_with(&custom::list_prefix(own));
    tables::find_table(name).is_some() || settings.own_tables.iter().any(is_own)
}

/// Whether the rows kept under that name are of another table than the CRM's.
pub fn is_own_list(name: &str) -> bool {
    name.starts_with("own ")
}

/// What a row's event needs of other tables.
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

/// Rows of a table as they were kept.
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
