//! Asking a REST API for what is new.
//!
//! ```text
//!   since = newest row known − overlap          (an API without `since`: everything)
//!   pages, newest first, until one has nothing new ──► rows, by key
//!   key not kept ──► created     key kept, other content ──► updated     else nothing
//!   oldest first ──► capture, and keep the rows ──► remember the newest
//! ```
//!
//! A page that is older than `since` is the last if the operator says which field to tell it by
//! (`timestamp`); another field may tell when the row was made, and not when it changed.
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
use crate::model::poll_source::{ListSettings, PollSettings};
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

    /// The other list whose memory is kept under the name, if one has it.
    fn other_owner(&self, name: &str, list: &ListSettings) -> Option<String> {
        let owner = self.lists.get(name)?.own_name.clone()?;
        Some(owner).filter(|owner| *owner != list.own_name())
    }

    /// The name under which an earlier run kept what is known of a list that has this name now.
    fn earlier_name(&self, name: &str, list: &ListSettings) -> Option<String> {
        // Earlier versions kept it under the whole path. With a digest they named every list of
        // several with one masked path, and this version names every one but the first.
        let earlier = [list.own_name(), list.path.clone()];
        let earlier =
            earlier.into_iter().find(|one| one != name && self.lists.contains_key(one))?;
        let is_older = |known: &ListMemory| {
            let newest = self.lists.get(&earlier).and_then(|earlier| earlier.newest);
            known.own_name.is_none() && known.newest < newest
        };
        // Earlier versions left memory behind when they gave a list another name.
        self.lists.get(name).is_none_or(is_older).then_some(earlier)
    }

    /// Notes whose memory it is; `false` if that was known.
    fn note_owner(&mut self, name: &str, list: &ListSettings) -> bool {
        let Some(known) = self.lists.get_mut(name).filter(|known| known.own_name.is_none()) else {
            return false;
        };
        known.own_name = Some(list.own_name());
        true
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
    /// The list's own name, which tells whose memory it is if the list was another one's neighbour.
    /// None in the memory of earlier versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    own_name: Option<String>,
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
            memory.note_owner(&plan.list, list);
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

/// Gives what is known of lists the names that they have now. They were once kept under their whole
/// paths, and a list that is put in front of another one with its masked path takes that name from
/// it.
async fn rename_lists(
    run: &SourceRun,
    settings: &PollSettings,
    memory: &mut PollMemory,
) -> Result<(), RunFailed> {
    // Before the others, so that a name is free when its list takes it.
    for list in &settings.lists {
        let name = settings.list_name(list);
        if let Some(owner) = memory.other_owner(&name, list) {
            rename_list(run, memory, &name, &owner).await?;
        }
    }
    let mut is_changed = false;
    for list in &settings.lists {
        let name = settings.list_name(list);
        if name == list.path {
            continue;
        }
        if let Some(earlier) = memory.earlier_name(&name, list) {
            rename_list(run, memory, &earlier, &name).await?;
        }
        is_changed |= memory.note_owner(&name, list);
    }
    if is_changed {
        run.keep_memory(&memory.text()).await?;
    }
    Ok(())
}

/// Keeps what is known of a list under another name.
async fn rename_list(
    run: &SourceRun,
    memory: &mut PollMemory,
    from: &str,
    to: &str,
) -> Result<(), RunFailed> {
    let Some(known) = memory.lists.remove(from) else { return Ok(()) };
    // A run that dies in between does this again: then no rows are left under the earlier name.
    run.journal().rename_source_list(run.id(), from, to).await?;
    memory.lists.insert(to.to_owned(), known);
    run.keep_memory(&memory.text()).await
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MASKED: &str = "/orders?state=***";

    fn open_list() -> ListSettings {
        serde_json::from_value(json!("/orders?state=open")).unwrap()
    }

    fn remembering(name: &str, newest: i64) -> (String, ListMemory) {
        let newest = Some(Timestamp::from_micros(newest));
        (name.to_owned(), ListMemory { newest, ..ListMemory::default() })
    }

    #[test]
    fn memory_is_found_under_the_names_of_earlier_versions() {
        let list = open_list();
        for earlier in [list.own_name(), list.path.clone()] {
            let lists = BTreeMap::from([remembering(&earlier, 2)]);
            let memory = PollMemory { lists };
            assert_eq!(memory.earlier_name(MASKED, &list), Some(earlier));
        }
        for (of_masked, wanted) in [(1, Some(list.own_name())), (3, None)] {
            let lists = [remembering(MASKED, of_masked), remembering(&list.own_name(), 2)];
            let memory = PollMemory { lists: BTreeMap::from(lists) };
            assert_eq!(memory.earlier_name(MASKED, &list), wanted, "the newer one counts");
        }
    }

    #[test]
    fn memory_tells_whose_it_is() {
        let list = open_list();
        let other: ListSettings = serde_json::from_value(json!("/orders?state=closed")).unwrap();
        let mut memory = PollMemory { lists: BTreeMap::from([remembering(MASKED, 1)]) };
        assert_eq!(memory.other_owner(MASKED, &other), None, "of an earlier version");
        assert!(memory.note_owner(MASKED, &list) && !memory.note_owner(MASKED, &other));
        let memory: PollMemory = serde_json::from_str(&memory.text()).unwrap();
        assert_eq!(memory.other_owner(MASKED, &list), None);
        assert_eq!(memory.other_owner(MASKED, &other), Some(list.own_name()));
    }
}
