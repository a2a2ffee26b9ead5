//! Deletes data that is older than the configured retention, a few hundred rows at a time.
//!
//! Ids begin with their time, so each table is walked in the order of its ids, window by window, up
//! to the newest row that may be deleted. Every window is a transaction of its own. After each one
//! the writer rests for as long as the window took, so captures have at least half of its time.
//!
//! Open work is never pruned: an event that waits for modules, a delivery that waits or is being
//! sent, a dead letter and the data for its replay, and the event that holds the present state of a
//! record.

use super::db::{DatabaseDialect, SqlQuery};
use super::{EventStore, StoreError, statements};
use crate::model::id::EventId;
use crate::time::timestamp::Timestamp;
use std::ops::AddAssign;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Rows of a window.
const ROWS: i64 = 500;
/// Number of events per step when the database is too large. If fewer are left, the step shrinks to
/// a tenth, and so on, because a single event may have megabytes.
const STEP: i64 = 5_000;
/// Longest rest after a window.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// For each kind of data, the time before which it may be deleted.
#[derive(Debug, Clone, Copy)]
pub struct PruneCutoffs {
    /// Data, changes and attributes of events, and the messages, drafts and dispatches that modules
    /// made from them.
    pub payloads: Timestamp,
    /// Plans, with the steps of modules.
    pub plans: Timestamp,
    pub attempts: Timestamp,
    pub deliveries: Timestamp,
    pub events: Timestamp,
    pub dead_letters: Timestamp,
    pub deleted_records: Timestamp,
    /// Records whose last event is older. `None` deletes no records.
    pub records: Option<Timestamp>,
}

impl PruneCutoffs {
    /// Moves the cutoffs of events and of what follows from them to the given time, unless they are
    /// later.
    fn not_before(self, time: Timestamp) -> Self {
        Self {
            payloads: self.payloads.max(time),
            plans: self.plans.max(time),
            attempts: self.attempts.max(time),
            deliveries: self.deliveries.max(time),
            events: self.events.max(time),
            ..self
        }
    }
}

/// Numbers of deleted rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrunedCounts {
    /// Events that lost their payload.
    pub payloads: u64,
    /// Runs of modules.
    pub plans: u64,
    /// Attempts, except those that were deleted with their delivery.
    pub attempts: u64,
    pub deliveries: u64,
    pub events: u64,
    pub dead_letters: u64,
    pub records: u64,
}

impl AddAssign for PrunedCounts {
    fn add_assign(&mut self, more: Self) {
        self.payloads += more.payloads;
        self.plans += more.plans;
        self.attempts += more.attempts;
        self.deliveries += more.deliveries;
        self.events += more.events;
        self.dead_letters += more.dead_letters;
        self.records += more.records;
    }
}

/// Numbers of rows that one round deleted from events and what follows from them, and the number of
/// windows it examined.
#[derive(Debug, Clone, Copy, Default)]
struct PruneRound {
    pruned: PrunedCounts,
    windows: u64,
}

impl AddAssign for PruneRound {
    fn add_assign(&mut self, more: Self) {
        self.pruned += more.pruned;
        self.windows += more.windows;
    }
}

/// Number of rows deleted from one table, and of windows examined.
#[derive(Debug, Clone, Copy, Default)]
struct SweptTable {
    rows: u64,
    windows: u64,
}

/// One walk through a table.
struct TableSweep {
    /// Statement that finds the last id of the next window.
    window: &'static str,
    /// Statements that run on every window, each with a flag that says whether it takes the time as
    /// well. Only the rows of the first are counted.
    steps: &'static [(&'static str, bool)],
}

const DEAD_LETTERS: TableSweep = TableSweep {
    window: statements::DEAD_LETTER_WINDOW,
    steps: &[(statements::PRUNE_DEAD_LETTERS, true)],
};
const DELIVERIES: TableSweep = TableSweep {
    window: statements::DELIVERY_WINDOW,
    steps: &[
        (statements::PRUNE_DELIVERIES, true),
        (statements::PRUNE_MESSAGES_OF_NONE, false),
        (statements::PRUNE_ATTEMPTS_OF_NONE, false),
        (statements::PRUNE_CANCEL_KEYS_OF_NONE, false),
    ],
};
const ATTEMPTS: TableSweep =
    TableSweep { window: statements::ATTEMPT_WINDOW, steps: &[(statements::PRUNE_ATTEMPTS, true)] };
const PLANS: TableSweep =
    TableSweep { window: statements::PLAN_WINDOW, steps: &[(statements::PRUNE_PLANS, true)] };
const PAYLOADS_SQLITE: TableSweep = TableSweep {
    window: statements::EVENT_WINDOW,
    steps: &[
        (statements::PRUNE_PAYLOADS_SQLITE, true),
        (statements::PRUNE_MESSAGES_OF_PRUNED, false),
        (statements::PRUNE_CONTENTS_OF_PRUNED, false),
        (statements::PRUNE_ANSWERS_OF_PRUNED, false),
    ],
};
const PAYLOADS_POSTGRES: TableSweep = TableSweep {
    window: statements::EVENT_WINDOW,
    steps: &[
        (statements::PRUNE_PAYLOADS_POSTGRES, true),
        (statements::PRUNE_MESSAGES_OF_PRUNED, false),
        (statements::PRUNE_CONTENTS_OF_PRUNED, false),
        (statements::PRUNE_ANSWERS_OF_PRUNED, false),
    ],
};
const EVENTS_SQLITE: TableSweep = TableSweep {
    window: statements::EVENT_WINDOW,
    steps: &[(statements::PRUNE_EVENTS_SQLITE, false), (statements::PRUNE_ANSWERS_OF_NONE, false)],
};
const EVENTS_POSTGRES: TableSweep = TableSweep {
    window: statements::EVENT_WINDOW,
    steps: &[
        (statements::PRUNE_EVENTS_POSTGRES, false),
        (statements::PRUNE_ANSWERS_OF_NONE, false),
    ],
};

impl EventStore {
    /// Deletes data that is older than the cutoffs. Examines payloads from `payloads_from` on;
    /// earlier payloads are known to be gone or still needed.
    pub async fn prune_expired(
        &self,
        before: &PruneCutoffs,
        payloads_from: Option<EventId>,
    ) -> Result<PrunedCounts, StoreError> {
        let all = Uuid::nil();
        // The order matters: a row can be deleted only after the rows that need it.
        let dead_letters = self.sweep_table(&DEAD_LETTERS, before.dead_letters, all, None).await?;
        let dead_letters = dead_letters.rows;
        let records = self.prune_records(before).await?;
        let is_new = dead_letters + records > 0;
        let payloads_from = payloads_from.filter(|_| !is_new).map_or(all, EventId::uuid);
        let round = self.prune_events(before, all, payloads_from).await?;
        Ok(PrunedCounts { dead_letters, records, ..round.pruned })
    }

    /// Deletes events and what follows from them, from the given ids on.
    async fn prune_events(
        &self,
        before: &PruneCutoffs,
        from: Uuid,
        payloads_from: Uuid,
    ) -> Result<PruneRound, StoreError> {
        let (payloads, events) = match self.pool().dialect() {
            DatabaseDialect::Sqlite => (PAYLOADS_SQLITE, EVENTS_SQLITE),
            DatabaseDialect::Postgres => (PAYLOADS_POSTGRES, EVENTS_POSTGRES),
        };
        let now = self.clock().now();
        let deliveries = self.sweep_table(&DELIVERIES, before.deliveries, from, None).await?;
        let attempts = self.sweep_table(&ATTEMPTS, before.attempts, from, None).await?;
        let plans = self.sweep_table(&PLANS, before.plans, from, None).await?;
        let payloads =
            self.sweep_table(&payloads, before.payloads, payloads_from, Some(now)).await?;
        let events = self.sweep_table(&events, before.events, from, None).await?;
        let swept = [deliveries, attempts, plans, payloads, events];
        let pruned = PrunedCounts {
            payloads: payloads.rows,
            plans: plans.rows,
            attempts: attempts.rows,
            deliveries: deliveries.rows,
            events: events.rows,
            ..PrunedCounts::default()
        };
        Ok(PruneRound { pruned, windows: swept.iter().map(|table| table.windows).sum() })
    }

    /// Prunes an SQLite database, oldest data first, until it takes at most `most` bytes. Deletes
    /// nothing from `newest` on. Returns whether that was enough.
    pub async fn prune_to_size(
        &self,
        most: u64,
        before: &PruneCutoffs,
        newest: Timestamp,
    ) -> Result<(PrunedCounts, bool), StoreError> {
        let (round, is_enough) = self.prune_in_steps(most, before, newest).await?;
        Ok((round.pruned, is_enough))
    }

    async fn prune_in_steps(
        &self,
        most: u64,
        before: &PruneCutoffs,
        newest: Timestamp,
    ) -> Result<(PruneRound, bool), StoreError> {
        let (mut round, mut above, mut step) = (PruneRound::default(), Uuid::nil(), STEP);
        let mut number: u32 = 0;
        while self.bytes_used().await? > most {
            let query = SqlQuery::new(statements::EVENT_WINDOW)
                .bind(above)
                .bind(EventId::first_at(newest))
                .bind(step - 1);
            let next: Option<Uuid> = self.pool().find_value(query).await?;
            match next {
                Some(next) => {
                    number += 1;
                    // An event whose delivery ended after the event's step can be deleted in a
                    // later step. A search in every step would examine 1.6 million windows for two
                    // million events that are needed.
                    let from = if number.is_power_of_two() { Uuid::nil() } else { above };
                    // All events of the same millisecond are deleted with it.
                    let to = EventId::from_uuid(next).created_at().after(Duration::from_millis(1));
                    round += self.prune_events(&before.not_before(to), from, from).await?;
                    above = next;
                }
                None if step > 1 => step = (step / 10).max(1),
                None => {
                    let (last, all) = (before.not_before(newest), Uuid::nil());
                    round += self.prune_events(&last, all, all).await?;
                    return Ok((round, self.bytes_used().await? <= most));
                }
            }
        }
        Ok((round, true))
    }

    async fn sweep_table(
        &self,
        sweep: &TableSweep,
        before: Timestamp,
        from: Uuid,
        time: Option<Timestamp>,
    ) -> Result<SweptTable, StoreError> {
        let end = EventId::first_at(before).uuid();
        let (mut above, mut swept) = (from, SweptTable::default());
        while above < end {
            let query = SqlQuery::new(sweep.window).bind(above).bind(end).bind(ROWS - 1);
            let to: Option<Uuid> = self.pool().find_value(query).await?;
            let began = Instant::now();
            let time = time.unwrap_or(before);
            swept.rows += self.prune_window(sweep, (above, to.unwrap_or(end)), time).await?;
            swept.windows += 1;
            let Some(to) = to else { break };
            above = to;
            tokio::time::sleep(began.elapsed().min(LONGEST_REST)).await;
        }
        Ok(swept)
    }

    async fn prune_window(
        &self,
        sweep: &TableSweep,
        (above, to): (Uuid, Uuid),
        time: Timestamp,
    ) -> Result<u64, StoreError> {
        let steps = sweep.steps;
        let pruned = self.pool().write(move |tx| {
            Box::pin(async move {
                let mut counts = Vec::with_capacity(steps.len());
                for (text, takes_time) in steps {
                    let query = SqlQuery::new(text).bind(above).bind(to);
                    let query = if *takes_time { query.bind(time) } else { query };
                    counts.push(tx.execute(query).await?);
                }
                Ok(counts.first().copied().unwrap_or_default())
            })
        });
        pruned.await
    }

    /// Deletes records that were deleted at their source, and records without recent events.
    async fn prune_records(&self, before: &PruneCutoffs) -> Result<u64, StoreError> {
        let of_deleted = self.pool().choose_statement(
            statements::PRUNE_DELETED_RECORDS_SQLITE,
            statements::PRUNE_DELETED_RECORDS_POSTGRES,
        );
        let of_silent = [
            self.pool().choose_statement(
                statements::PRUNE_UNCHANGED_RECORDS_SQLITE,
                statements::PRUNE_UNCHANGED_RECORDS_POSTGRES,
            ),
            self.pool().choose_statement(
                statements::PRUNE_CHANGED_RECORDS_SQLITE,
                statements::PRUNE_CHANGED_RECORDS_POSTGRES,
            ),
        ];
        let mut pruned = self.prune_rows(of_deleted, before.deleted_records, None).await?;
        let Some(before) = before.records else { return Ok(pruned) };
        let mut resource = String::new();
        loop {
            let query = SqlQuery::new(statements::NEXT_RESOURCE).bind(&resource);
            let next: Option<String> = self.pool().find_value(query).await?;
            let Some(next) = next else { return Ok(pruned) };
            for text in of_silent {
                pruned += self.prune_rows(text, before, Some(&next)).await?;
            }
            resource = next;
        }
    }

    async fn prune_rows(
        &self,
        text: &'static str,
        before: Timestamp,
        resource: Option<&str>,
    ) -> Result<u64, StoreError> {
        let mut pruned = 0;
        loop {
            let began = Instant::now();
            let query = SqlQuery::new(text).bind(before).bind(ROWS);
            let query = if resource.is_some() { query.bind(resource) } else { query };
            let rows = self.pool().execute(query).await?;
            pruned += rows;
            if rows < ROWS.unsigned_abs() {
                return Ok(pruned);
            }
            tokio::time::sleep(began.elapsed().min(LONGEST_REST)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::record_ordinal;
    use crate::store::StoreOpening;
    use crate::store::db::WriteTransaction;
    use crate::store::db::pool::tests::postgres_url;
    use crate::time::clock::Clock;

    /// Inserts events of the given size, one a second up to the given time, into a store on SQLite.
    const FILL: &str = "INSERT INTO event (id, source, event_type, received_at, data, matched) \
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows}) \
        SELECT unhex(printf('%012x70008000%012x', ({last} - {rows} + n) * 1000, n)), 'crm', 'a.b', \
        ({last} - {rows} + n) * 1000000, '\"' || printf('%.{size}c', 'x') || '\"', 0 FROM numbers";

    const fn all_before(time: Timestamp) -> PruneCutoffs {
        PruneCutoffs {
            payloads: time,
            plans: time,
            attempts: time,
            deliveries: time,
            events: time,
            dead_letters: time,
            deleted_records: time,
            records: None,
        }
    }

    /// Returns a store on SQLite with events up to two hours ago, and its folder.
    async fn filled_journal(rows: u64, size: u32) -> (EventStore, tempfile::TempDir) {
        let folder = tempfile::TempDir::new().unwrap();
        let url = format!("sqlite:{}?mode=rwc", folder.path().join("w.db").display());
        let (journal, _outlets) =
            EventStore::open(&url, Clock::System, StoreOpening::default()).await.unwrap();
        let last = journal.clock().now().before(Duration::from_hours(2)).seconds();
        let fill = FILL.replace("{rows}", &rows.to_string()).replace("{size}", &size.to_string());
        let fill = fill.replace("{last}", &last.to_string());
        let filled = journal.pool().execute(SqlQuery::new(fill.leak())).await.unwrap();
        assert_eq!(filled, rows);
        (journal, folder)
    }

    #[tokio::test]
    async fn a_database_that_is_too_large_loses_the_oldest() {
        let (journal, _folder) = filled_journal(12_000, 1_000).await;
        let most = 6 << 20;
        assert!(journal.bytes_used().await.unwrap() > 2 * most);
        let none = all_before(Timestamp::from_micros(0));
        let newest = journal.clock().now().before(Duration::from_hours(1));
        let (pruned, is_enough) = journal.prune_to_size(most, &none, newest).await.unwrap();
        assert!(is_enough && journal.bytes_used().await.unwrap() <= most);
        assert_eq!(pruned.events, 10_000, "no more than necessary");
        assert!(journal.give_back_space().await.unwrap() > 0);
        let (pruned, is_enough) = journal.prune_to_size(0, &none, newest).await.unwrap();
        assert!(!is_enough && pruned.events == 2_000, "only the schema is left: {pruned:?}");
    }

    #[tokio::test]
    async fn a_database_of_few_large_events_loses_the_oldest_too() {
        let (journal, _folder) = filled_journal(200, 20_000).await;
        let most = 5 << 19;
        assert!(journal.bytes_used().await.unwrap() > most);
        let none = all_before(Timestamp::from_micros(0));
        let newest = journal.clock().now().before(Duration::from_hours(1));
        let (pruned, is_enough) = journal.prune_to_size(most, &none, newest).await.unwrap();
        assert!(is_enough && (50..=150).contains(&pruned.events), "{pruned:?}");
    }

    #[tokio::test]
    async fn events_that_are_needed_are_not_looked_at_in_every_step() {
        let (journal, _folder) = filled_journal(30_000, 10).await;
        let hold = "INSERT INTO planning (event_id, flow_id, due_at, attempts) \
            SELECT id, id, 0, 0 FROM event";
        journal.pool().execute(SqlQuery::new(hold)).await.unwrap();
        let none = all_before(Timestamp::from_micros(0));
        let newest = journal.clock().now().before(Duration::from_hours(1));
        let (round, is_enough) = journal.prune_in_steps(0, &none, newest).await.unwrap();
        assert!(!is_enough && round.pruned == PrunedCounts::default(), "{round:?}");
        // Six steps of 20 windows and the last sweep of 120. Three of the steps examine all earlier
        // events too; if all steps did, there would be 575 windows.
        assert!((240..400).contains(&round.windows), "{round:?}");
    }

    /// Inserts an event that holds the state of a record.
    async fn write_record(
        tx: &mut WriteTransaction<'_>,
        event: Uuid,
        id: &str,
    ) -> Result<(), StoreError> {
        let insert = SqlQuery::new(
            "INSERT INTO event (id, source, event_type, resource, resource_id, received_at, \
             data, matched) VALUES ($1, 'crm', 'a.b', 'a', $2, 0, '{}', 0)",
        );
        tx.execute(insert.bind(event).bind(id)).await?;
        let insert = SqlQuery::new(
            "INSERT INTO record (resource, ordinal, resource_id, source, event_id, whole, \
             updated_at) VALUES ('a', $1, $2, 'crm', $3, 1, 0)",
        );
        tx.execute(insert.bind(record_ordinal(id)).bind(id).bind(event)).await.map(drop)
    }

    #[tokio::test]
    async fn an_event_that_holds_a_record_is_kept_however_its_id_is_written() {
        let folder = tempfile::TempDir::new().unwrap();
        let sqlite = format!("sqlite:{}?mode=rwc", folder.path().join("w.db").display());
        for url in [Some(sqlite), postgres_url().await].into_iter().flatten() {
            let (journal, _outlets) =
                EventStore::open(&url, Clock::System, StoreOpening::default()).await.unwrap();
            let large = ["9223372036854775807", "-9223372036854775808", "9999999999999999999"];
            let small =
                ["17", "+5", "000000000000000000000007", "-3", " 4", "12abc", "1e3", "x", ""];
            let ids: Vec<&str> = large.into_iter().chain(small).collect();
            let written = ids.clone();
            let write = journal.pool().write(move |tx| {
                Box::pin(async move {
                    for (n, id) in written.into_iter().enumerate() {
                        write_record(tx, Uuid::from_u128(n as u128 + 1), id).await?;
                    }
                    Ok(())
                })
            });
            write.await.unwrap();
            let all = all_before(journal.clock().now());
            assert_eq!(
                journal.prune_expired(&all, None).await.unwrap(),
                PrunedCounts::default(),
                "{url}"
            );
            let silent = PruneCutoffs { records: Some(journal.clock().now()), ..all };
            let pruned = journal.prune_expired(&silent, None).await.unwrap();
            let count = ids.len() as u64;
            assert_eq!((pruned.records, pruned.events), (count, count), "{url}");
        }
    }
}
