//! Reads the files of `tests/crm/`.

use jiff::SignedDuration;
use jiff::civil::DateTime;

/// Today, in the tests.
pub const NOW: DateTime = jiff::civil::datetime(2026, 5, 20, 14, 30, 0, 0);

/// What happens between two scans.
#[derive(Debug)]
pub struct Step {
    pub name: String,
    /// `type#resource_id` of each event that is to follow, sorted.
    pub expected: Vec<String>,
    pub sql: String,
}

/// A file of the fixture.
pub fn read(path: &str) -> String {
    let path = format!("{}/../tests/crm/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every step of every file, in order.
pub fn steps(now: DateTime) -> Vec<Step> {
    let folder = format!("{}/../tests/crm/changes", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    let texts = files.iter().map(|file| read(&format!("changes/{file}")));
    texts.flat_map(|text| split(&at(&text, now))).collect()
}

fn split(text: &str) -> Vec<Step> {
    let (before, rest) = text.split_once("-- step: ").expect("a step");
    assert!(before.trim().is_empty(), "nothing before the first step: {before}");
    rest.split("-- step: ").map(step).collect()
}

fn step(text: &str) -> Step {
    let name = text.lines().next().unwrap().to_owned();
    let expected = text.lines().filter_map(|line| line.strip_prefix("-- expect: "));
    let mut expected: Vec<String> = expected.map(str::to_owned).collect();
    expected.sort();
    Step { name, expected, sql: text.split_once('\n').unwrap().1.to_owned() }
}

/// The text with dates and times for what stands for them.
pub fn at(text: &str, now: DateTime) -> String {
    let mut parts = text.split('{');
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (inner, rest) = part.split_once('}').unwrap_or(("", part));
        match moment(inner, now) {
            Some(moment) => out.extend([&moment, rest]),
            None => out.extend(["{", part]),
        }
    }
    out
}

fn moment(inner: &str, now: DateTime) -> Option<String> {
    if let Some(days) = inner.strip_prefix("today") {
        let days: i64 = if days.is_empty() { 0 } else { days.parse().ok()? };
        return Some((now.date() + SignedDuration::from_hours(24 * days)).to_string());
    }
    let hours = inner.strip_prefix("now")?;
    let hours: i64 = if hours.is_empty() { 0 } else { hours.strip_suffix('h')?.parse().ok()? };
    Some((now + SignedDuration::from_hours(hours)).strftime("%Y-%m-%d %H:%M:%S").to_string())
}

#[test]
fn moments_are_put_in() {
    let text = at("a:1:{i:0;} {today} {today-1} {now-2h}", NOW);
    assert_eq!(text, "a:1:{i:0;} 2026-05-20 2026-05-19 2026-05-20 12:30:00");
}
