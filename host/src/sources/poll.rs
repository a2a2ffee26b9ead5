//! Sources of kind `poll`: asks a REST API for new and changed rows.
//!
//! ```text
//!   since = time of the newest stored row − overlap     (everything, if the API has no `since`)
//!   pages, newest first, until a page has nothing new ──► rows by key
//!   key not stored ──► created     other content stored ──► updated     same content ──► nothing
//!   oldest first ──► capture events and store rows ──► store the time of the newest row
//! ```
//!
//! A page older than `since` ends the list only if the operator named the field that tells a row's
//! time (`timestamp`). A field that the preset guesses may be the time of creation, which an update
//! does not change.
//!
//! Unless the source has a `start`, its first run stores the existing rows and captures nothing.
//! The content of each row is stored, so that an update says what changed and rows in the overlap
//! are not captured twice.
//!
//! Guaranteed: each row that the API returns in a run is captured, even if the process dies during
//! the run. Not guaranteed, because such APIs do not tell: rows that changed without a new
//! timestamp, and deleted rows.

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

/// What is stored between two runs, by list.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct PollMemory {
    lists: BTreeMap<String, ListMemory>,
}

impl PollMemory {
    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns the list to which the memory under this name belongs, if it is another list.
    fn other_owner(&self, name: &str, list: &ListSettings) -> Option<String> {
        let owner = self.lists.get(name)?.own_name.clone()?;
        Some(owner).filter(|owner| *owner != list.own_name())
    }

    /// Returns the earlier name under which a list's memory is still stored.
    fn earlier_name(&self, name: &str, list: &ListSettings) -> Option<String> {
        // Earlier versions used the whole path as the name. Where several lists have the same
        // masked path, they added a digest to each name; this version adds it to all but the first.
        let earlier = [list.own_name(), list.path.clone()];
        let earlier =
            earlier.into_iter().find(|one| one != name && self.lists.contains_key(one))?;
        let is_older = |known: &ListMemory| {
            let newest = self.lists.get(&earlier).and_then(|earlier| earlier.newest);
            known.own_name.is_none() && known.newest < newest
        };
        // Earlier versions did not delete the memory under the old name of a renamed list.
        self.lists.get(name).is_none_or(is_older).then_some(earlier)
    }

    /// Records which list the memory under a name belongs to. Returns `false` if that was recorded
    /// before.
    fn note_owner(&mut self, name: &str, list: &ListSettings) -> bool {
        let Some(known) = self.lists.get_mut(name).filter(|known| known.own_name.is_none()) else {
            return false;
        };
        known.own_name = Some(list.own_name());
        true
    }
}

/// Returns the names of the lists whose rows are records of this resource.
pub fn lists_of(settings: &PollSettings, resource: &str) -> Vec<String> {
    let plans = settings.lists.iter().filter_map(|list| ListPlan::of(settings, list).ok());
    plans.filter(|plan| plan.resource == resource).map(|plan| plan.list).collect()
}

/// Returns the event types that rows of the list with this name cause.
pub fn event_types_of(settings: &PollSettings, name: &str) -> Vec<String> {
    let mut plans = settings.lists.iter().filter_map(|list| ListPlan::of(settings, list).ok());
    let plan = plans.find(|plan| plan.list == name);
    plan.map(|plan| vec![plan.created, plan.updated]).unwrap_or_default()
}

/// Whether one of the source's lists has this name.
pub fn reads_list(settings: &PollSettings, name: &str) -> bool {
    let mut plans = settings.lists.iter().filter_map(|list| ListPlan::of(settings, list).ok());
    plans.any(|plan| plan.list == name)
}

/// What is stored about a list between two runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ListMemory {
    /// When the first run of the list began. Rows from before that time are not new. `None` if the
    /// source has a date to start from.
    from: Option<Timestamp>,
    /// Whether the list was read completely at least once.
    looked: bool,
    /// The time of the newest row.
    newest: Option<Timestamp>,
    /// The name of the list in the settings. It tells which list this memory belongs to when lists
    /// were reordered. Earlier versions did not store it.
    #[serde(skip_serializing_if = "Option::is_none")]
    own_name: Option<String>,
}

/// Reads every list. A list that fails does not stop the others.
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
            // Stored before the list is read, so that rows which appear while the API fails count
            // as new.
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

/// Moves the memory of each list to the list's present name. Earlier versions used the whole path
/// as the name. A list can also take over the name of another one, when it is put in front of a
/// list with the same masked path.
async fn rename_lists(
    run: &SourceRun,
    settings: &PollSettings,
    memory: &mut PollMemory,
) -> Result<(), RunFailed> {
    // These lists give up their names first, so that each name is free when another list takes it.
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

/// Moves the memory and the stored rows of a list to another name.
async fn rename_list(
    run: &SourceRun,
    memory: &mut PollMemory,
    from: &str,
    to: &str,
) -> Result<(), RunFailed> {
    let Some(known) = memory.lists.remove(from) else { return Ok(()) };
    // A run that dies between the two steps repeats this. Then there are no rows left to move.
    run.journal().rename_source_list(run.id(), from, to).await?;
    memory.lists.insert(to.to_owned(), known);
    run.keep_memory(&memory.text()).await
}

/// Returns the event that the newest row of the first list would lead to. Stores nothing.
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
        newest.ok_or_else(|| RunFailed::new("the API can be read, but the list is empty"))?;
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
