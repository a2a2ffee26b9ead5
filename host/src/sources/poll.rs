//! Asking a REST API for what is new.
//!
//! ```text
//!   since = newest row known − overlap          (an API without `since`: everything)
//!   pages, newest first, until one is older than that ──► rows, by key
//!   key not kept ──► created     key kept, other content ──► updated     else nothing
//!   oldest first ──► capture, and keep the rows ──► remember the newest
//! ```
//!
//! The first run from now on keeps what is there and captures nothing. Each row's content is kept, so that an
//! update says what changed and rows of the overlap are not captured again.
//!
//! Guaranteed: a row that the API gives in a run is captured, also if the program dies in between. Not
//! guaranteed, as such an API cannot: rows that changed without their timestamp, and rows that are gone.

pub mod fetch;
pub mod list;
pub mod moment;
pub mod page;
pub mod plan;
pub mod row;

use super::Failed;
use super::run::Run;
use crate::ingest::incoming::Incoming;
use crate::model::poll_source::PollSettings;
use crate::model::source::Source;
use crate::model::source_run::Progress;
use crate::net::http_client::Client;
use crate::time::timestamp::Timestamp;
use fetch::Fetch;
use plan::Plan;
use row::Rows;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What it remembers.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    lists: BTreeMap<String, ListMemory>,
}

impl Memory {
    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The lists whose rows are records of this resource.
pub fn lists_of(settings: &PollSettings, resource: &str) -> Vec<String> {
    let plans = settings.lists.iter().filter_map(|list| Plan::of(settings, list).ok());
    plans.filter(|plan| plan.resource == resource).map(|plan| plan.list).collect()
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
pub async fn run(run: &Run, settings: &PollSettings, client: &Client) -> Result<(), Failed> {
    let mut memory: Memory = serde_json::from_str(&run.memory).unwrap_or_default();
    rename_lists(run, settings, &mut memory).await?;
    let clock = run.journal().clock().clone();
    let mut failed = Vec::new();
    for (n, list) in settings.lists.iter().enumerate() {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let progress = Progress {
            table: settings.list_name(list),
            done: count(n),
            of: count(settings.lists.len()),
        };
        run.progress(progress);
        let plan = Plan::of(settings, list)?;
        let fetch = Fetch { plan: &plan, client, secret: run.secret(), clock: &clock, waits: true };
        if !memory.lists.contains_key(&plan.list) {
            // Remembered before it is read: what comes while it cannot be read is new.
            let start = settings.start.instant(&plan.zone);
            let from = start.is_none().then_some(run.began);
            memory.lists.insert(plan.list.clone(), ListMemory { from, ..ListMemory::default() });
            run.keep(&memory.text()).await?;
        }
        let known = memory.lists.get(&plan.list).cloned().unwrap_or_default();
        match list::poll(run, settings, &fetch, &known).await {
            Ok(now_known) => {
                memory.lists.insert(plan.list.clone(), now_known);
                run.keep(&memory.text()).await?;
            }
            Err(why) => failed.push(format!("{}: {why}", plan.list)),
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Failed::new(failed.join("; "))) }
}

/// Gives lists their names without private values. They were once kept under their whole paths.
async fn rename_lists(
    run: &Run,
    settings: &PollSettings,
    memory: &mut Memory,
) -> Result<(), Failed> {
    for list in &settings.lists {
        let name = settings.list_name(list);
        if name == list.path {
            continue;
        }
        let Some(known) = memory.lists.remove(&list.path) else { continue };
        run.journal().rename_source_list(run.id(), &list.path, &name).await?;
        memory.lists.insert(name, known);
        run.keep(&memory.text()).await?;
    }
    Ok(())
}

/// The event that the newest row of the first list would make.
pub async fn sample(
    settings: &PollSettings,
    source: &Source,
    secret: Option<&str>,
    clock: &crate::time::clock::Clock,
    client: &Client,
) -> Result<Incoming, Failed> {
    let list = settings.lists.first().ok_or_else(|| Failed::new("it has no lists"))?;
    let plan = Plan::of(settings, list)?;
    let fetch = Fetch { plan: &plan, client, secret, clock, waits: false };
    let page = fetch.page(None, 1, plan.size).await?;
    let mut rows = Rows::default();
    rows.add(&plan, &page, &Rows::default())?;
    let newest = rows.oldest_first().pop().and_then(|newest| newest.open(&plan));
    let newest =
        newest.ok_or_else(|| Failed::new("the API answers well, and the list is empty"))?;
    Ok(list::event(&plan, source, &newest, list::Before::New))
}
