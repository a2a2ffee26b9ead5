//! Asking a REST API for what is new.
//!
//! ```text
//!   since = newest row known − overlap          (an API without `since`: everything)
//!   pages, newest first, until one is older than that ──► rows, by key
//!   key not kept ──► created     key kept, other content ──► updated     else nothing
//!   oldest first ──► capture, and keep the rows ──► remember the newest
//! ```
//!
//! The first run from now on keeps what is there and captures nothing. Each row's content is kept,
//! so that an update says what changed and rows of the overlap are not captured again.
//!
//! Guaranteed: a row that the API gives in a run is captured, also if the program dies in between.
//! Not guaranteed, as such an API cannot: rows that changed without their timestamp, and rows that
//! are gone.

pub mod fetch;
pub mod list;
pub mod moment;
pub mod page;
pub mod plan;
pub mod row;

use super::RunFailed;
use super::run::SourceRun;
use crate::ingest::incoming::IncomingEvent;
use crate::model::poll_source::PollSettings;
use crate::model::source::Source;
use crate::model::source_run::RunProgress;
use crate::net::http_client::DeliveryClient;
use crate::time::timestamp::Timestamp;
use fetch::ListFetch;
use plan::ListPlan;
use row::PolledRows;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What it remembers.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct PollMemory {
    lists: BTreeMap<String, ListMemory>,
}

impl PollMemory {
    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The lists whose rows are records of this resource.
pub fn lists_of(settings: &PollSettings, resource: &str) -> Vec<String> {
    let plans = settings.lists.iter().filter_map(|list| ListPlan::of(settings, list).ok());
    plans.filter(|plan| plan.resource == resource).map(|plan| plan.list).collect()
}

/// Whether the rows of one of the lists are kept under that name.
pub fn reads_list(settings: &PollSettings, name: &str) -> bool {
    let mut plans = settings.lists.iter().filter_map(|list| ListPlan::of(settings, list).ok());
    plans.any(|plan| plan.list == name)
}

/// What it remembers of a list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ListMemory {
    /// When its first run began; rows from before are not new. None where it began with a date.
    from: Option<Timestamp>,
    /// Whether it has been read once.
    looked: bool,
    /// When the newest row is from.
    newest: Option<Timestamp>,
}

/// Asks for every list. One that fails does not keep the others from being asked for.
pub async fn run_poll(
    run: &SourceRun,
    settings: &PollSettings,
    client: &DeliveryClient,
) -> Result<(), RunFailed> {
    let mut memory: PollMemory = serde_json::from_str(&run.memory).unwrap_or_default();
    rename_lists(run, settings, &mut memory).await?;
    let clock = run.journal().clock().clone();
    let mut failed = Vec::new();
    for (n, list) in settings.lists.iter().enumerate() {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let progress = RunProgress {
            table: settings.list_name(list),
            done: count(n),
            of: count(settings.lists.len()),
        };
        run.report_progress(progress);
        let plan = ListPlan::of(settings, list)?;
        let fetch =
            ListFetch { plan: &plan, client, secret: run.secret(), clock: &clock, waits: true };
        if !memory.lists.contains_key(&plan.list) {
            // Remembered before it is read: what comes while it cannot be read is new.
            let start = settings.start.instant(&plan.zone);
            let from = start.is_none().then_some(run.began);
            memory.lists.insert(plan.list.clone(), ListMemory { from, ..ListMemory::default() });
            run.keep_memory(&memory.text()).await?;
        }
        let known = memory.lists.get(&plan.list).cloned().unwrap_or_default();
        match list::poll_list(run, settings, &fetch, &known).await {
            Ok(now_known) => {
                memory.lists.insert(plan.list.clone(), now_known);
                run.keep_memory(&memory.text()).await?;
            }
            Err(why) => failed.push(format!("{}: {why}", plan.list)),
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(RunFailed::new(failed.join("; "))) }
}

/// Gives lists their names without private values. They were once kept under their whole paths.
async fn rename_lists(
    run: &SourceRun,
    settings: &PollSettings,
    memory: &mut PollMemory,
) -> Result<(), RunFailed> {
    for list in &settings.lists {
        let name = settings.list_name(list);
        if name == list.path {
            continue;
        }
        let Some(known) = memory.lists.remove(&list.path) else { continue };
        run.journal().rename_source_list(run.id(), &list.path, &name).await?;
        memory.lists.insert(name, known);
        run.keep_memory(&memory.text()).await?;
    }
    Ok(())
}

/// The event that the newest row of the first list would make.
pub async fn sample_event(
    settings: &PollSettings,
    source: &Source,
    secret: Option<&str>,
    clock: &crate::time::clock::Clock,
    client: &DeliveryClient,
) -> Result<IncomingEvent, RunFailed> {
    let list = settings.lists.first().ok_or_else(|| RunFailed::new("it has no lists"))?;
    let plan = ListPlan::of(settings, list)?;
    let fetch = ListFetch { plan: &plan, client, secret, clock, waits: false };
    let page = fetch.page(None, 1, plan.size).await?;
    let mut rows = PolledRows::default();
    rows.add(&plan, &page, &PolledRows::default())?;
    let newest = rows.oldest_first().pop().and_then(|newest| newest.open(&plan));
    let newest =
        newest.ok_or_else(|| RunFailed::new("the API answers well, and the list is empty"))?;
    Ok(list::row_event(&plan, source, &newest, list::KnownBefore::New))
}
