//! Reads one list of an API in one run.

use super::super::RunFailed;
use super::super::rows::{self, RowHappening, SourceRow};
use super::super::run::{FoundRow, RowToStore, SourceRun};
use super::ListMemory;
use super::fetch::ListFetch;
use super::plan::ListPlan;
use super::row::{self, PolledRow, PolledRows};
use crate::ingest::incoming::IncomingEvent;
use crate::json::same_value::TextValues;
use crate::model::event::EventChanges;
use crate::model::poll_source::PollSettings;
use crate::model::source::Source;
use crate::store::{KeptRow, RowLetter};
use crate::time::timestamp::Timestamp;
use std::collections::HashSet;
use std::time::Duration;

/// The bounds of a batch of rows: their number, and the bytes of their text.
const BATCH: (usize, usize) = (500, 2 * 1024 * 1024);
/// How often a list of several pages is read at most until a pass finds nothing new. This is needed
/// because a row that is deleted during a pass moves others to pages that were already read.
const PASSES: usize = 4;
/// Most rows that are requested in one answer from an API without pages.
const LONGEST: u32 = 12_800;
/// How many rows such APIs return at most, whatever was requested.
const CAPS: [usize; 8] = [25, 50, 100, 200, 250, 500, 1_000, 5_000];
/// Most pages of one list.
const PAGES: u32 = 10_000;
/// What is added to the overlap after clocks were set back.
const CLOCKS: Duration = Duration::from_hours(1);

/// Reads the new rows of a list and captures them. Returns what to store about the list.
pub async fn poll_list(
    run: &SourceRun,
    settings: &PollSettings,
    fetch: &ListFetch<'_>,
    known: &ListMemory,
) -> Result<ListMemory, RunFailed> {
    let plan = fetch.plan;
    run.reopen_replayed(&plan.list).await?;
    let start = settings.start.instant(&plan.zone).filter(|_| !known.looked);
    let back_to = start.or_else(|| known.newest.map(|newest| newest.before(overlap(plan, newest))));
    let back_to = reread_from(run, plan, back_to);
    let first_look = known.from.filter(|_| !known.looked);
    let rows = read_list(run, fetch, back_to, first_look).await?;
    run.read(rows.len());
    run.set_aside(&plan.list, rows.bad_rows()).await?;
    let read: HashSet<String> = rows.good_ids().map(str::to_owned).collect();
    if let Some(warning) = rows.explain_left_out(plan)? {
        run.add_warning(warning);
    }
    // A row with a time in the future must not make later runs skip rows of the present.
    let newest = known.newest.max(rows.newest_time()).map(|newest| newest.min(run.began));
    let is_first_run = first_look == Some(run.began);
    let bounds = FirstRunBounds { only_noted: first_look, not_before: start, is_first_run };
    for batch in row::batches(&rows.oldest_first(), BATCH.0, BATCH.1) {
        let batch: Vec<PolledRow> = batch.iter().filter_map(|row| row.open(plan)).collect();
        take_rows(run, plan, &batch, known, bounds).await?;
    }
    // For a replay the list was read from the time of the row on. If the row was not found, it was
    // deleted.
    let is_settled =
        |letter: &RowLetter| read.contains(&letter.row_id) || letter.replayed_at.is_some();
    run.settle_list(&plan.list, is_settled).await?;
    Ok(ListMemory { looked: true, newest, ..known.clone() })
}

/// Returns the time from which rows are requested. It is earlier than usual if the replay of an
/// earlier row was requested.
fn reread_from(run: &SourceRun, plan: &ListPlan, back_to: Option<Timestamp>) -> Option<Timestamp> {
    let mut from = back_to?;
    for letter in run.replayed_rows(&plan.list) {
        // A row without a time may be anywhere in the list.
        let at = letter.row_at?;
        from = from.min(at.before(overlap(plan, at)));
    }
    Some(from)
}

/// Tells which rows of a first run do not lead to events.
#[derive(Debug, Clone, Copy)]
struct FirstRunBounds {
    /// Rows from before this time existed before the source did.
    only_noted: Option<Timestamp>,
    /// Rows from before this time are before the configured start.
    not_before: Option<Timestamp>,
    /// Whether this is the very first run. Then no row is new, whatever the API's clock says.
    is_first_run: bool,
}

impl FirstRunBounds {
    fn hide(self, row: &PolledRow) -> bool {
        // The times of such rows have no fractions of a second.
        let is_before = |from: Timestamp| row.at.is_none_or(|at| at.seconds() < from.seconds());
        let was_there = self.only_noted.is_some_and(|from| self.is_first_run || is_before(from));
        was_there || self.not_before.is_some_and(|bound| row.at.is_some_and(|at| at < bound))
    }
}

/// Returns how far before the newest row the next run starts. After clocks were set back it is one
/// hour more, because local times without a zone then occur twice.
fn overlap(plan: &ListPlan, newest: Timestamp) -> Duration {
    let offset = |at: Timestamp| {
        jiff::Timestamp::from_microsecond(at.micros()).map(|at| plan.zone.to_offset(at)).ok()
    };
    let is_steady = offset(newest.before(3 * CLOCKS)) == offset(newest.after(3 * CLOCKS));
    if is_steady { plan.overlap } else { plan.overlap + CLOCKS }
}

/// Reads every row since `since`. A first run (which began at `first_look`) needs only the rows
/// since it began, and the overlap.
async fn read_list(
    run: &SourceRun,
    fetch: &ListFetch<'_>,
    back_to: Option<Timestamp>,
    first_look: Option<Timestamp>,
) -> Result<PolledRows, RunFailed> {
    let mut rows = PolledRows::default();
    if fetch.plan.page.is_none() {
        read_growing(run, fetch, back_to, &mut rows).await?;
        return Ok(rows);
    }
    for _ in 0..PASSES {
        let before = rows.len();
        let pages = read_pages(fetch, back_to, first_look, &mut rows).await?;
        // The next run finds rows that this one missed, if the API has no `since` or the list is
        // very long.
        let is_last = pages <= 1 || fetch.plan.since.is_none() || rows.is_large();
        if is_last || rows.len() == before {
            break;
        }
    }
    Ok(rows)
}

/// Reads pages until one has nothing new. Returns the number of requests.
async fn read_pages(
    fetch: &ListFetch<'_>,
    back_to: Option<Timestamp>,
    first_look: Option<Timestamp>,
    rows: &mut PolledRows,
) -> Result<u32, RunFailed> {
    let plan = fetch.plan;
    let mut pass = PolledRows::default();
    for number in 1..=PAGES {
        let page = fetch.page(back_to, number, plan.size).await?;
        let total = page.total;
        let added = pass.add(plan, &page, rows)?;
        // A first run without a start time ends when it has read the overlap before both the newest
        // row and its own beginning.
        let first_bound = || {
            let from = first_look.filter(|_| plan.since.is_some())?;
            let newest = pass.newest_time()?.min(from);
            Some(newest.before(overlap(plan, newest)))
        };
        let bound = match back_to {
            // The API returns rows by its own idea of what is new. The time of an old row that was
            // changed may be its time of creation. So an old time ends the list only if the
            // operator named the field.
            Some(back_to) if plan.since.is_some() => plan.timestamp.is_some().then_some(back_to),
            Some(_) | None => first_bound(),
        };
        let is_past = added.span.zip(bound).is_some_and(|((_, oldest), bound)| oldest < bound);
        let has_all = total.is_some_and(|total| pass.len() as u64 >= total);
        // A page that is shorter than requested need not be the last one. Only a page without new
        // rows is.
        if added.fresh == 0 || is_past || has_all {
            rows.extend(pass);
            return Ok(number);
        }
    }
    Err(RunFailed::new(format!("the list has more than {PAGES} pages; begin later by `start`")))
}

/// Reads from an API without pages: requests longer and longer answers until one is not full.
async fn read_growing(
    run: &SourceRun,
    fetch: &ListFetch<'_>,
    back_to: Option<Timestamp>,
    rows: &mut PolledRows,
) -> Result<(), RunFailed> {
    let (mut size, mut before) = (fetch.plan.size, 0);
    loop {
        let page = fetch.page(back_to, 1, size).await?;
        let count = rows.add(fetch.plan, &page, &PolledRows::default())?.count;
        let is_full = count >= size as usize;
        if is_full && size >= LONGEST {
            return Err(RunFailed::new(format!(
                "more than {LONGEST} rows are new, and the API gives them in one answer; begin later by `start`, or poll more often"
            )));
        }
        // An answer that is not full may still be cut off at the API's own limit.
        let may_be_cut = CAPS.contains(&count);
        if fetch.plan.size_parameter.is_none() || !(is_full || (may_be_cut && count != before)) {
            if may_be_cut && count == before {
                let list = &fetch.plan.list;
                let what = "the API may give no more than that at once; poll more often";
                run.add_warning(format!(
                    "{list}: {count} rows, however many were asked for: {what}"
                ));
            }
            return Ok(());
        }
        (size, before) = (size.saturating_mul(2), count);
    }
}

/// Captures the events of a batch of rows, and stores the rows.
async fn take_rows(
    run: &SourceRun,
    plan: &ListPlan,
    batch: &[PolledRow],
    memory: &ListMemory,
    bounds: FirstRunBounds,
) -> Result<(), RunFailed> {
    let changed = changed(run, plan, batch).await?;
    let keys: Vec<i64> = changed.iter().map(|polled| polled.row.key).collect();
    let kept = rows::read_kept(run, &plan.list, &keys).await?;
    let found = changed.into_iter().map(|polled| {
        let old = kept.get(&polled.row.key).filter(|old| !rows::is_untold(&old.head));
        let before = match old {
            Some(old) => KnownBefore::Kept(old),
            None if is_from_before(polled, plan, memory) => KnownBefore::There,
            None => KnownBefore::New,
        };
        let is_news = !bounds.hide(polled) && !before.is_same(polled);
        let event = is_news.then(|| row_event(plan, run.source(), polled, before));
        let revision = rows::revision(old.map(|old| &old.head), 0);
        let keep = RowToStore::Row(rows::keep(&polled.row, revision, ""));
        let (row_id, is_new) = (polled.row.id.clone(), matches!(before, KnownBefore::New));
        FoundRow { row_id, is_new, events: event.into_iter().collect(), keep }
    });
    run.capture_rows(&plan.list, found.collect()).await
}

/// Returns the rows that differ from the stored ones.
async fn changed<'a>(
    run: &SourceRun,
    plan: &ListPlan,
    batch: &'a [PolledRow],
) -> Result<Vec<&'a PolledRow>, RunFailed> {
    let known = rows::read_heads(run, &plan.list, batch.iter().map(|polled| &polled.row)).await?;
    let is_kept = |row: &SourceRow| known.get(&row.key).is_some_and(|head| head.hash == row.hash);
    Ok(batch.iter().filter(|polled| !is_kept(&polled.row)).collect())
}

/// Whether a row that is read for the first time is older than the source.
fn is_from_before(row: &PolledRow, plan: &ListPlan, memory: &ListMemory) -> bool {
    let made = row.made.zip(memory.from);
    row.made != row.at && made.is_some_and(|(made, from)| made < from.before(overlap(plan, from)))
}

/// What is stored of a row.
#[derive(Debug, Clone, Copy)]
pub enum KnownBefore<'a> {
    /// Nothing, so the row is new.
    New,
    /// Only that it exists.
    There,
    /// The row as it was last read.
    Kept(&'a KeptRow),
}

impl KnownBefore<'_> {
    /// Returns what changed, if the old content is stored.
    fn changes(self, polled: &PolledRow) -> Option<EventChanges> {
        let Self::Kept(old) = self else { return None };
        let content = rows::content(old)?;
        Some(rows::changes(&content, &polled.row.data, TextValues::MayBeNumbers))
    }

    /// Whether the row has the stored values, even if they are written differently.
    fn is_same(self, polled: &PolledRow) -> bool {
        self.changes(polled).is_some_and(|changes| changes.changed.is_empty())
    }
}

/// Makes the event that a row was created or updated.
pub fn row_event(
    plan: &ListPlan,
    source: &Source,
    polled: &PolledRow,
    before: KnownBefore<'_>,
) -> IncomingEvent {
    let (event_type, old) = match before {
        KnownBefore::New => (&plan.created, None),
        KnownBefore::There => (&plan.updated, None),
        KnownBefore::Kept(old) => (&plan.updated, Some(old)),
    };
    let revision = rows::revision(old.map(|old| &old.head), 0);
    let (list, resource) = (&plan.list, &plan.resource);
    let happening = RowHappening { source, list, resource, event_type, revision };
    let changes = before.changes(polled);
    IncomingEvent {
        occurred_at: polled.at.filter(|_| matches!(before, KnownBefore::New)),
        ..happening.event(&polled.row, changes.as_ref())
    }
}
