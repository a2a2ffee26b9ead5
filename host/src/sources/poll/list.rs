//! One list in one run.

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

/// Rows that are looked at together: how many at most, and bytes of their text.
const BATCH: (usize, usize) = (500, 2 * 1024 * 1024);
/// How often a list of several pages is read, at most, until nothing more is found: a row that goes
/// away while it is read moves others to pages that were read already.
const PASSES: usize = 4;
/// The longest answer that an API without pages is asked for, in rows.
const LONGEST: u32 = 12_800;
/// How many rows such APIs give at most.
const CAPS: [usize; 8] = [25, 50, 100, 200, 250, 500, 1_000, 5_000];
/// Most pages of one list.
const PAGES: u32 = 10_000;
/// What is added to the overlap around a change of the clocks.
const CLOCKS: Duration = Duration::from_hours(1);

/// Reads what is new in a list and captures it; what to remember of the list then.
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
    // A row from the future must not hide those of the present.
    let newest = known.newest.max(rows.newest_time()).map(|newest| newest.min(run.began));
    let is_first_run = first_look == Some(run.began);
    let bounds = FirstRunBounds { only_noted: first_look, not_before: start, is_first_run };
    for batch in row::batches(&rows.oldest_first(), BATCH.0, BATCH.1) {
        let batch: Vec<PolledRow> = batch.iter().filter_map(|row| row.open(plan)).collect();
        take_rows(run, plan, &batch, known, bounds).await?;
    }
    // A replay reads from when the row is: one that is not there any more is gone.
    let is_settled =
        |letter: &RowLetter| read.contains(&letter.row_id) || letter.replayed_at.is_some();
    run.settle_list(&plan.list, is_settled).await?;
    Ok(ListMemory { looked: true, newest, ..known.clone() })
}

/// From when on rows are asked for: earlier than usual where a replay of an earlier row was asked
/// for.
fn reread_from(run: &SourceRun, plan: &ListPlan, back_to: Option<Timestamp>) -> Option<Timestamp> {
    let mut from = back_to?;
    for letter in run.replayed_rows(&plan.list) {
        // One that does not say when it is from may be anywhere.
        let at = letter.row_at?;
        from = from.min(at.before(overlap(plan, at)));
    }
    Some(from)
}

/// Which rows of a first look are no events.
#[derive(Debug, Clone, Copy)]
struct FirstRunBounds {
    /// Those from before this time are there, and not new.
    only_noted: Option<Timestamp>,
    /// Those from before this time were not asked for.
    not_before: Option<Timestamp>,
    /// Whether no run was before this one: then nothing is new, whatever the API's clock says.
    is_first_run: bool,
}

impl FirstRunBounds {
    fn hide(self, row: &PolledRow) -> bool {
        // Such times have no parts of a second.
        let is_before = |from: Timestamp| row.at.is_none_or(|at| at.seconds() < from.seconds());
        let was_there = self.only_noted.is_some_and(|from| self.is_first_run || is_before(from));
        was_there || self.not_before.is_some_and(|bound| row.at.is_some_and(|at| at < bound))
    }
}

/// How far before the newest row is asked again: an hour more where the clocks were put back, and
/// so hours without a zone come twice.
fn overlap(plan: &ListPlan, newest: Timestamp) -> Duration {
    let offset = |at: Timestamp| {
        jiff::Timestamp::from_microsecond(at.micros()).map(|at| plan.zone.to_offset(at)).ok()
    };
    let is_steady = offset(newest.before(3 * CLOCKS)) == offset(newest.after(3 * CLOCKS));
    if is_steady { plan.overlap } else { plan.overlap + CLOCKS }
}

/// Every row since then. A first look needs those since the source began, and the overlap, only;
/// `first_look` is when it began.
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
        // What a list without `since`, or a very long one, hides from one run, the next one finds.
        let is_last = pages <= 1 || fetch.plan.since.is_none() || rows.is_large();
        if is_last || rows.len() == before {
            break;
        }
    }
    Ok(rows)
}

/// All pages; how many had to be asked for.
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
        // Without a bound, a first look ends with the overlap of the newest row and of its
        // beginning.
        let first_bound = || {
            let from = first_look.filter(|_| plan.since.is_some())?;
            let newest = pass.newest_time()?.min(from);
            Some(newest.before(overlap(plan, newest)))
        };
        let bound = match back_to {
            // What the API gives is new by its own measure. An old row that was changed may show
            // here only when it was made, so it ends the list only by the operator's own field.
            Some(back_to) if plan.since.is_some() => plan.timestamp.is_some().then_some(back_to),
            Some(_) | None => first_bound(),
        };
        let is_past = added.span.zip(bound).is_some_and(|((_, oldest), bound)| oldest < bound);
        let has_all = total.is_some_and(|total| pass.len() as u64 >= total);
        // A page may be shorter than asked for and not the last: only one without news is.
        if added.fresh == 0 || is_past || has_all {
            rows.extend(pass);
            return Ok(number);
        }
    }
    Err(RunFailed::new(format!("the list has more than {PAGES} pages; begin later by `start`")))
}

/// From an API without pages: longer and longer answers, until one is not full.
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
        // One that is not full may be all that the API gives at once.
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

/// Captures what a batch of rows brings, and keeps the rows.
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

/// Those that are others than what is kept.
async fn changed<'a>(
    run: &SourceRun,
    plan: &ListPlan,
    batch: &'a [PolledRow],
) -> Result<Vec<&'a PolledRow>, RunFailed> {
    let known = rows::read_heads(run, &plan.list, batch.iter().map(|polled| &polled.row)).await?;
    let is_kept = |row: &SourceRow| known.get(&row.key).is_some_and(|head| head.hash == row.hash);
    Ok(batch.iter().filter(|polled| !is_kept(&polled.row)).collect())
}

/// Whether a row that is seen for the first time is older than the source itself.
fn is_from_before(row: &PolledRow, plan: &ListPlan, memory: &ListMemory) -> bool {
    let made = row.made.zip(memory.from);
    row.made != row.at && made.is_some_and(|(made, from)| made < from.before(overlap(plan, from)))
}

/// What is known of a row from before.
#[derive(Debug, Clone, Copy)]
pub enum KnownBefore<'a> {
    /// Nothing: it is new.
    New,
    /// That it was there.
    There,
    /// What was kept of it.
    Kept(&'a KeptRow),
}

impl KnownBefore<'_> {
    /// What changed since then, where the content was kept.
    fn changes(self, polled: &PolledRow) -> Option<EventChanges> {
        let Self::Kept(old) = self else { return None };
        let content = rows::content(old)?;
        Some(rows::changes(&content, &polled.row.data, TextValues::MayBeNumbers))
    }

    /// Whether the row has the values that were kept, only written differently.
    fn is_same(self, polled: &PolledRow) -> bool {
        self.changes(polled).is_some_and(|changes| changes.changed.is_empty())
    }
}

/// The event of a row: that it is there, or that it is another than before.
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
