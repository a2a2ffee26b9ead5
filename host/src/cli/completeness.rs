//! `waybill completeness`: what of a day reached an endpoint, and sending just the gaps.

use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use super::client::{CallBody, QueryParameters, RemoteServer, ServerClient};
use super::endpoint::ENDPOINT;
use super::screen::ListColumn;
use super::screen::state::ScreenTone;
use super::{CliError, CommandScreen};

const RESOURCE_COLUMNS: &[ListColumn] = &[
    ("resource", &["/resource"]),
    ("captured", &["/captured"]),
    ("delivered", &["/delivered"]),
    ("waiting", &["/waiting"]),
    ("superseded", &["/superseded"]),
    ("dropped", &["/dropped"]),
    ("cancelled", &["/cancelled"]),
    ("not taken", &["/not_taken"]),
    ("unknown", &["/unknown"]),
    ("gaps", &["/gaps"]),
];

const GAP_COLUMNS: &[ListColumn] = &[
    ("missing", &["/status"]),
    ("since", &["/since_at"]),
    ("event type or list", &["/event_type", "/list"]),
    ("resource", &["/resource"]),
    ("of", &["/resource_id"]),
    ("why", &["/reason"]),
    ("cannot be sent", &["/hindrance"]),
    ("event", &["/event_id"]),
];

const REASON_COLUMNS: &[ListColumn] = &[("dropped", &["/events"]), ("because", &["/reason"])];

/// Gaps of one answer: the server's limit.
const PAGE: &str = "200";

/// Arguments of `waybill completeness`.
#[derive(Debug, Args)]
pub struct CompletenessArgs {
    /// The endpoint, by name or id.
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// The day in UTC, such as 2026-11-30 [default: today].
    #[arg(long, value_name = "DAY")]
    day: Option<String>,
    /// Events about this kind of resource, such as invoice.
    #[arg(long)]
    resource: Option<String>,
    /// Send the gaps: deliveries under their own ids, and what was never planned as new ones.
    #[arg(long)]
    send: bool,
    /// Largest number of gaps to show.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    remote: RemoteServer,
}

/// The statements about all stretches of a day, added up.
#[derive(Debug, Default)]
struct DayStatement {
    /// The first statement, with the counts and gaps of all.
    whole: Value,
    gaps: Vec<Value>,
    /// The sendable gaps of each stretch.
    stretches: Vec<(Option<String>, u64)>,
    has_more: bool,
}

/// Prints the statement about a day. Fails with exit status 1 if there are gaps, or with `--send`
/// if some cannot be sent.
pub async fn run_completeness(
    args: CompletenessArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let endpoint = ENDPOINT.find_id(&client, &args.endpoint).await?;
    let mut query = QueryParameters::default();
    query.add("endpoint", Some(endpoint));
    query.add("day", args.day);
    query.add("resource", args.resource);
    let mut found = DayStatement::load(&client, &query).await?;
    let gaps = found.count("gaps") + found.count("unread_rows");
    let mut left = gaps;
    if args.send {
        let sent = found.send(&client).await?;
        left = gaps.saturating_sub(found.sendable());
        if let Some(members) = found.whole.as_object_mut() {
            members.insert("sent".to_owned(), sent);
        }
    }
    found.print(args.limit, args.send, screen)?;
    if left == 0 && !found.has_more { Ok(()) } else { Err(CliError::Reported) }
}

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Adds the numbers of an object to those of another.
fn add_numbers(sum: &mut Map<String, Value>, more: &Map<String, Value>) {
    for (name, value) in more {
        let Some(value) = value.as_u64() else { continue };
        let before = sum.get(name).and_then(Value::as_u64).unwrap_or_default();
        sum.insert(name.clone(), json!(before + value));
    }
}

impl DayStatement {
    async fn load(client: &ServerClient, query: &QueryParameters) -> Result<Self, CliError> {
        let mut found = Self::default();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = query.clone();
            query.add("limit", Some(PAGE.to_owned()));
            query.add("cursor", cursor.take());
            let path = format!("/completeness{query}");
            let mut answer = client.read_answer(Method::GET, &path, CallBody::None).await?;
            let next = answer.pointer("/meta/next_cursor").and_then(Value::as_str);
            let next = next.map(str::to_owned);
            found.add(answer.get_mut("data").map(Value::take).unwrap_or_default());
            cursor = next;
            if cursor.is_none() {
                return Ok(found);
            }
        }
    }

    /// Adds a page. The counts of a stretch stand on each of its pages and count once.
    fn add(&mut self, mut page: Value) {
        if let Some(Value::Array(gaps)) = page.get_mut("gaps").map(Value::take) {
            self.gaps.extend(gaps);
        }
        let stretch = page.get("stretch").and_then(Value::as_str).map(str::to_owned);
        if self.stretches.iter().any(|(known, _)| *known == stretch) {
            return;
        }
        self.stretches.push((stretch, number(&page, "/sendable")));
        self.has_more |= page.get("more_sendable") == Some(&Value::Bool(true));
        if self.whole.is_null() {
            self.whole = page;
            return;
        }
        let more = page.get("counts").and_then(Value::as_object);
        let sum = self.whole.get_mut("counts").and_then(Value::as_object_mut);
        if let (Some(sum), Some(more)) = (sum, more) {
            add_numbers(sum, more);
        }
        for list in ["resources", "dropped", "kinds"] {
            let more = page.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
            if let Some(sum) = self.whole.get_mut(list).and_then(Value::as_array_mut) {
                for one in more {
                    add_to_list(sum, one);
                }
            }
        }
    }

    fn count(&self, name: &str) -> u64 {
        number(&self.whole, &format!("/counts/{name}"))
    }

    fn sendable(&self) -> u64 {
        self.stretches.iter().map(|(_, sendable)| sendable).sum()
    }

    /// Sends the gaps of each stretch. Returns what was begun.
    async fn send(&self, client: &ServerClient) -> Result<Value, CliError> {
        let mut sent = Map::new();
        for (stretch, count) in self.stretches.iter().filter(|(_, count)| *count > 0) {
            let part = |name: &str| self.whole.get(name);
            let body = json!({
                "endpoint": part("endpoint_id"), "day": part("day"), "resource": part("resource"),
                "stretch": stretch, "count": count,
            });
            let path = "/completeness/send";
            let begun = client.call_api(Method::POST, path, CallBody::Json(body)).await?;
            add_numbers(&mut sent, begun.as_object().unwrap_or(&Map::new()));
        }
        Ok(Value::Object(sent))
    }

    fn print(
        &mut self,
        limit: usize,
        was_sent: bool,
        screen: &mut CommandScreen<'_>,
    ) -> Result<(), CliError> {
        if !screen.is_human() {
            let mut shown = self.whole.clone();
            if let Some(members) = shown.as_object_mut() {
                members.insert("gaps".to_owned(), Value::Array(std::mem::take(&mut self.gaps)));
            }
            return Ok(screen.print_json(&shown)?);
        }
        screen.print_line(self.tell_state(screen))?;
        let resources = self.list("resources");
        if !resources.is_empty() {
            screen.print_line("")?;
            screen.print_list(RESOURCE_COLUMNS, resources, "")?;
        }
        let reasons = self.list("dropped");
        if !reasons.is_empty() {
            screen.print_line("")?;
            screen.print_list(REASON_COLUMNS, reasons, "")?;
        }
        self.print_gaps(limit, screen)?;
        for source in self.list("sources") {
            screen.print_line(tell_source(source))?;
        }
        self.print_end(was_sent, screen)
    }

    fn list(&self, name: &str) -> &[Value] {
        self.whole.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// Says in a line what the counts amount to.
    fn tell_state(&self, screen: &CommandScreen<'_>) -> String {
        let look = screen.look();
        let gaps = self.count("gaps") + self.count("unread_rows");
        let waiting = self.count("waiting");
        let (tone, words) = match (gaps, waiting) {
            (0, 0) if self.count("unknown") > 0 => {
                (ScreenTone::Quiet, "not known any more".to_owned())
            }
            (0, 0) if self.count("captured") == self.count("not_taken") => {
                (ScreenTone::Quiet, "no events".to_owned())
            }
            (0, 0) => (ScreenTone::Good, "complete".to_owned()),
            (0, waiting) => (ScreenTone::Waiting, format!("no gaps, {waiting} waiting")),
            (1, _) => (ScreenTone::Bad, "1 gap".to_owned()),
            (gaps, _) => (ScreenTone::Bad, format!("{gaps} gaps")),
        };
        let state = tone.paint(&format!("{} {words}", tone.sign(look)), look);
        let (endpoint, day) = (text(&self.whole, "endpoint"), text(&self.whole, "day"));
        format!("{endpoint}, {day} (UTC): {state}")
    }

    fn print_gaps(&self, limit: usize, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
        if self.gaps.is_empty() {
            return Ok(());
        }
        let shown: Vec<Value> = self.gaps.iter().take(limit).map(as_row).collect();
        screen.print_line("")?;
        screen.print_list(GAP_COLUMNS, &shown, "")?;
        let hidden = self.gaps.len() - shown.len();
        if hidden > 0 {
            screen.print_line(format!("and {hidden} more; --limit shows more"))?;
        }
        Ok(())
    }

    fn print_end(&self, was_sent: bool, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
        let sendable = self.sendable();
        if was_sent {
            let count = |name: &str| number(&self.whole, &format!("/sent/{name}"));
            screen.print_line(format!(
                "{} deliveries are sent again, {} new ones are made, modules run again on {} events, \
                 {} rows are read again",
                count("resent"),
                count("made"),
                count("planned"),
                count("rows")
            ))?;
            if self.has_more {
                screen.print_line("→ more can be sent: run the command again")?;
            }
        } else if sendable > 0 {
            screen.print_line(format!("→ --send sends {sendable} of them"))?;
        }
        Ok(())
    }
}

/// Adds the counts of a resource, a reason or a kind to the list of all.
fn add_to_list(sum: &mut Vec<Value>, one: Value) {
    let is_same = |known: &&mut Value| {
        ["resource", "reason", "kind"].iter().all(|name| known.get(name) == one.get(name))
    };
    match (sum.iter_mut().find(is_same).and_then(Value::as_object_mut), one.as_object()) {
        (Some(known), Some(more)) => add_numbers(known, more),
        (_, _) => sum.push(one),
    }
}

/// Returns a gap as a row of a table, with its state and its time under the names by which tables
/// know such values.
fn as_row(gap: &Value) -> Value {
    let mut row = gap.clone();
    if let Some(members) = row.as_object_mut() {
        members.insert("status".to_owned(), gap["kind"].clone());
        members.insert("since_at".to_owned(), gap["since"].clone());
    }
    row
}

fn tell_source(source: &Value) -> String {
    let name = text(source, "source");
    let until = text(source, "read_until");
    match (until, source.get("covers_day") == Some(&Value::Bool(false))) {
        ("", _) => format!("source {name} was never read completely: its changes are not known"),
        (until, true) => {
            format!("source {name} was read until {until}: later changes of the day are not known")
        }
        (until, false) => format!("source {name} was read until {until}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(stretch: Option<&str>, delivered: u64, gap: &str) -> Value {
        json!({
            "stretch": stretch, "sendable": 1, "more_sendable": false,
            "counts": {"captured": delivered + 1, "delivered": delivered, "gaps": 1},
            "resources": [{"resource": "invoice", "delivered": delivered}],
            "dropped": [], "kinds": [{"kind": "dead", "gaps": 1}],
            "gaps": [{"event_id": gap, "kind": "dead"}],
        })
    }

    #[test]
    fn pages_of_one_stretch_count_once_and_stretches_add_up() {
        let mut found = DayStatement::default();
        for (stretch, delivered, gap) in
            [(None, 5, "evt_1"), (None, 5, "evt_2"), (Some("evt_9"), 7, "evt_10")]
        {
            found.add(page(stretch, delivered, gap));
        }
        assert_eq!((found.count("delivered"), found.count("gaps")), (12, 2));
        assert_eq!((found.gaps.len(), found.sendable()), (3, 2));
        assert_eq!(found.whole["resources"], json!([{"resource": "invoice", "delivered": 12}]));
        assert_eq!(found.whole["kinds"], json!([{"kind": "dead", "gaps": 2}]));
    }

    #[test]
    fn a_source_that_was_not_read_to_the_end_is_told() {
        let source = |until: Value, covers: Value| {
            tell_source(&json!({"source": "crm", "read_until": until, "covers_day": covers}))
        };
        assert!(source(Value::Null, json!(false)).contains("never read"));
        assert!(source(json!("2026-11-30T12:00:00.000Z"), json!(false)).contains("later changes"));
        let today = source(json!("2026-11-30T12:00:00.000Z"), Value::Null);
        assert_eq!(today, "source crm was read until 2026-11-30T12:00:00.000Z");
    }
}
