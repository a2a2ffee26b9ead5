//! Reads the files of `tests/crm/`, whose README describes them.

use std::path::PathBuf;

use serde_json::Value;
use waybill_tests::site::{self, time};

/// Seconds of an hour.
const HOUR: i64 = 3_600;

/// A change between two scans.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: String,
    /// `type#resource_id` of each expected event, sorted.
    pub(super) expected: Vec<String>,
    pub(super) sql: String,
}

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "crm", name].iter().collect()
}

/// Reads a file of the fixture.
pub(super) fn read(name: &str) -> String {
    let path = path(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns every step of every file, in order.
pub(super) fn steps() -> Vec<Step> {
    let entries = std::fs::read_dir(path("changes")).unwrap();
    let mut files: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    files.iter().flat_map(|file| split(&read(&format!("changes/{file}")))).collect()
}

fn split(text: &str) -> Vec<Step> {
    text.split("-- step: ").skip(1).map(step).collect()
}

fn step(text: &str) -> Step {
    let (name, sql) = text.split_once('\n').unwrap();
    let expected = sql.lines().filter_map(|line| line.strip_prefix("-- expect: "));
    let mut expected: Vec<String> = expected.map(str::to_owned).collect();
    expected.sort();
    Step { name: name.to_owned(), expected, sql: sql.to_owned() }
}

/// Returns second names of events, which only go to subscribers of exactly that name.
pub(super) fn aliases() -> Vec<String> {
    let facts: Value = serde_json::from_str(&read("facts/event-derivation.json")).unwrap();
    let events = facts["events"].as_array().unwrap();
    let aliases = events.iter().filter(|event| event["same_occurrence_as"].is_string());
    aliases.map(|event| event["name"].as_str().unwrap().to_owned()).collect()
}

/// A clock that now shows early afternoon, so that no test runs over midnight.
#[derive(Debug)]
pub(super) struct Clock {
    /// Hours ahead of UTC, −9 to 14.
    ahead: i64,
    now: i64,
}

impl Clock {
    /// Takes the time at the start of the test, so that placeholders keep their meaning.
    pub(super) fn new() -> Self {
        let now = site::now();
        Self { ahead: 14 - now.rem_euclid(24 * HOUR) / HOUR, now }
    }

    /// Returns the name of its time zone. Zones ahead of UTC have a minus in their name (tzdb, file
    /// `etcetera`).
    pub(super) fn zone(&self) -> String {
        format!("Etc/GMT{:+}", -self.ahead)
    }

    /// Replaces placeholders in a text by dates and times.
    pub(super) fn put_into(&self, text: &str) -> String {
        let mut parts = text.split('{');
        let mut out = parts.next().unwrap().to_owned();
        for part in parts {
            let (inner, rest) = part.split_once('}').unwrap_or(("", part));
            match self.moment(inner) {
                Some(moment) => out.extend([&moment, rest]),
                None => out.extend(["{", part]),
            }
        }
        out
    }

    fn moment(&self, inner: &str) -> Option<String> {
        let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse().ok() };
        let stamp = |hours: i64| time::stamp(self.now + hours * HOUR, self.ahead * HOUR);
        if let Some(days) = inner.strip_prefix("today") {
            let days: i64 = number(days)?;
            return stamp(24 * days).split(' ').next().map(str::to_owned);
        }
        let hours = inner.strip_prefix("now")?;
        Some(stamp(number(hours.strip_suffix('h').unwrap_or(hours))?))
    }
}

#[test]
fn moments_are_put_in_by_the_clock() {
    // 2026-05-20 21:30:00 UTC.
    let clock = Clock { ahead: -7, now: 1_779_312_600 };
    assert_eq!(clock.zone(), "Etc/GMT+7");
    let text = clock.put_into("a:1:{i:0;} {today} {today-1} {today+12} {now-2h} {now}");
    let put = "a:1:{i:0;} 2026-05-20 2026-05-19 2026-06-01 2026-05-20 12:30:00 2026-05-20 14:30:00";
    assert_eq!(text, put);
    let now = Clock::new();
    assert!(now.put_into("{now}").contains(" 14:"), "{now:?}");
}
