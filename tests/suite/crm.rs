//! Sources of kind `database`: changes in a CRM become events, read from the CRM's own MariaDB.

mod accounting;
mod faults;
mod fixture;
mod hard;
mod kills;
mod life;
mod walk;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use waybill_tests::world::text;
use waybill_tests::{MariaDatabase, World};

use crate::poll;
use crate::support::{announce, first_run, merged, name};
use fixture::Clock;

/// The source's name.
const SOURCE: &str = "crm";

/// Value of columns that must never be read.
const NEVER: &str = "must-never-be-read";

/// A CRM: the fixture's tables and first rows on MariaDB.
#[derive(Debug)]
struct Crm {
    database: MariaDatabase,
    clock: Clock,
}

impl Crm {
    /// Creates a CRM on the server of all tests. Returns `None` without a server.
    async fn start() -> Option<Self> {
        Some(Self::fill(MariaDatabase::fresh().await?).await)
    }

    async fn fill(database: MariaDatabase) -> Self {
        let crm = Self { database, clock: Clock::new() };
        for file in ["schema.sql", "baseline.sql"] {
            crm.change(&fixture::read(file)).await;
        }
        crm
    }

    /// Runs statements as one transaction, with dates and times in the place of their placeholders.
    async fn change(&self, sql: &str) {
        self.database.execute(&self.clock.put_into(sql)).await.unwrap();
    }

    /// Adds a lead.
    async fn lead(&self, id: u32) {
        self.change(&lead(id)).await;
    }

    /// Returns the keys of a table, in order.
    async fn keys(&self, table: &str, key: &str) -> Vec<String> {
        let query = format!("SELECT `{key}` FROM `tbl{table}` ORDER BY `{key}`");
        self.database.texts(&query).await.unwrap()
    }

    /// Returns the settings of a source that reads it once an hour, or on request.
    fn settings(&self, more: &Value) -> Value {
        let database = json!({
            "url": self.database.reader_url(), "every": "1h", "time_zone": self.clock.zone(),
        });
        json!({
            "name": SOURCE, "kind": "database", "secret": self.database.password(),
            "database": merged(database, more),
        })
    }
}

/// Returns the statement that adds a lead.
fn lead(id: u32) -> String {
    format!(
        "INSERT INTO `tblleads` (`id`, `hash`, `name`, `company`, `country`, `dateadded`, `from_form_id`, \
         `status`, `source`, `addedfrom`, `email`) VALUES \
         ({id}, '{NEVER}', 'Lead {id}', 'Company {id}', 57, '{{now}}', 2, 2, 1, 0, 'lead{id}@example.com');"
    )
}

/// Creates a source that reads this CRM, and waits for the end of its first run.
async fn source(world: &World, crm: &Crm, more: &Value) -> Value {
    let run = first_run(world, &crm.settings(more)).await;
    assert_eq!(run["error"], Value::Null, "{run:#}");
    run
}

/// Runs the source. Fails the test unless the run succeeded.
async fn run_well(world: &World) -> Value {
    let run = poll::run(world, SOURCE).await;
    assert_eq!(run["error"], Value::Null, "{run:#}");
    run
}

/// Returns the events since the last call, at most a page, sorted.
async fn captured(world: &World, seen: &mut BTreeSet<String>) -> Vec<String> {
    let page = world.get(&format!("/api/v1/events?limit=200&source={SOURCE}")).await;
    let events = page.as_array().unwrap();
    let mut fresh: Vec<String> =
        events.iter().filter(|event| seen.insert(text(event, "id"))).map(name).collect();
    fresh.sort();
    fresh
}

/// Returns all captured events, sorted.
async fn happened(world: &World) -> Vec<String> {
    let mut all: Vec<String> = poll::events(world, SOURCE).await.iter().map(name).collect();
    all.sort();
    all
}

/// Waits until no delivery is waiting or being sent.
async fn settled(world: &World) {
    for status in ["pending", "leased"] {
        let path = format!("/api/v1/deliveries?limit=1&status={status}");
        world.eventually(&path, |found| *found == json!([])).await;
    }
}
