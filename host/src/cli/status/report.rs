//! Judges the health of a server from its lists.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::screen::ScreenLook;
use crate::cli::screen::age::short_span;
use crate::cli::screen::state::ScreenTone;
use crate::time::timestamp::Timestamp;

/// A list, and whether there is more than was read.
#[derive(Debug, Default)]
pub struct CountedList {
    pub values: Vec<Value>,
    pub is_more: bool,
}

/// The facts that were read from a server. A list is `None` if the token may not read it.
#[derive(Debug, Default)]
pub struct ServerFacts {
    pub server: String,
    pub is_ready: bool,
    /// The answer of `/readyz`.
    pub ready: String,
    pub nodes: Option<CountedList>,
    /// Events of the last hour.
    pub events: Option<CountedList>,
    /// Pending deliveries, newest first.
    pub waiting: Option<CountedList>,
    pub dead_letters: Option<CountedList>,
    pub endpoints: Option<CountedList>,
    pub sources: Option<CountedList>,
    /// Reasons of the last failed attempts, by the id of the endpoint.
    pub reasons: Vec<(String, String)>,
}

/// One line about something unusual.
#[derive(Debug)]
struct StatusLine {
    tone: ScreenTone,
    kind: &'static str,
    name: String,
    state: &'static str,
    reason: String,
    since: Option<Timestamp>,
    waiting: Option<usize>,
    next: Option<String>,
}

/// The status of a server.
#[derive(Debug)]
pub struct StatusReport {
    facts: ServerFacts,
    lines: Vec<StatusLine>,
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str)
}

fn time(value: &Value, pointer: &str) -> Option<Timestamp> {
    text(value, pointer).and_then(|text| Timestamp::parse(text).ok())
}

fn name_of(value: &Value) -> String {
    text(value, "/name").or_else(|| text(value, "/id")).unwrap_or("?").to_owned()
}

/// Returns why the last attempt of a delivery failed.
pub fn last_failure(trace: &Value) -> String {
    let attempts = trace.get("attempts").and_then(Value::as_array);
    let Some(last) = attempts.and_then(|all| all.last()) else { return "failed".to_owned() };
    if let Some(error) = text(last, "/error").or_else(|| text(last, "/error_class")) {
        return error.to_owned();
    }
    last.get("status").map_or_else(|| "failed".to_owned(), |status| format!("answered {status}"))
}

fn values(list: Option<&CountedList>) -> &[Value] {
    list.map_or(&[], |list| list.values.as_slice())
}

impl ServerFacts {
    /// Returns the pending deliveries of one endpoint that failed before.
    fn retries_of<'a>(&'a self, endpoint: &'a str) -> impl Iterator<Item = &'a Value> {
        let tried = |one: &&Value| one.get("attempt_count").and_then(Value::as_u64) > Some(0);
        values(self.waiting.as_ref())
            .iter()
            .filter(tried)
            .filter(move |one| text(one, "/endpoint_id") == Some(endpoint))
    }

    /// Returns each endpoint that has waiting retries, with its newest one.
    pub fn failing_examples(&self) -> Vec<(String, String)> {
        let endpoints = values(self.endpoints.as_ref()).iter();
        endpoints
            .filter_map(|endpoint| {
                let id = text(endpoint, "/id")?;
                let retry = self.retries_of(id).next()?;
                Some((id.to_owned(), text(retry, "/id")?.to_owned()))
            })
            .collect()
    }

    fn count_waiting(&self, endpoint: &str) -> usize {
        let waiting = values(self.waiting.as_ref()).iter();
        waiting.filter(|one| text(one, "/endpoint_id") == Some(endpoint)).count()
    }

    fn oldest_waiting(&self) -> Option<Timestamp> {
        values(self.waiting.as_ref()).iter().filter_map(|one| time(one, "/created_at")).min()
    }

    fn own_node(&self) -> Option<&Value> {
        values(self.nodes.as_ref()).iter().find(|node| node.get("answers") == Some(&json!(true)))
    }
}

impl StatusReport {
    /// Judges the facts.
    pub fn judge(facts: ServerFacts, now: Timestamp) -> Self {
        let mut lines = Vec::new();
        if !facts.is_ready {
            lines.push(StatusLine {
                next: Some("waybill doctor".to_owned()),
                ..StatusLine::new(ScreenTone::Bad, "server", facts.server.clone(), "not ready")
            });
        }
        lines.extend(facts.judge_nodes());
        lines.extend(
            values(facts.endpoints.as_ref()).iter().filter_map(|one| facts.judge_endpoint(one)),
        );
        lines.extend(facts.judge_dead_letters());
        lines.extend(values(facts.sources.as_ref()).iter().filter_map(judge_source));
        // Lines that need a person come first.
        lines.sort_by_key(|line| match line.tone {
            ScreenTone::Bad => 0,
            ScreenTone::Warning => 1,
            ScreenTone::Waiting | ScreenTone::Good | ScreenTone::Quiet => 2,
        });
        let mut report = Self { facts, lines };
        for line in &mut report.lines {
            // A time ahead of this clock does not give an age.
            line.since = line.since.filter(|since| *since <= now);
        }
        report
    }

    /// Returns whether nothing needs attention. Objects that an operator paused do not.
    pub fn is_well(&self) -> bool {
        self.lines.iter().all(|line| line.tone == ScreenTone::Quiet)
    }

    /// Returns the names of the lists that the token may not read.
    fn hidden(&self) -> Vec<&'static str> {
        let facts = &self.facts;
        let lists = [
            ("nodes", &facts.nodes),
            ("events", &facts.events),
            ("deliveries", &facts.waiting),
            ("dead letters", &facts.dead_letters),
            ("endpoints", &facts.endpoints),
            ("sources", &facts.sources),
        ];
        lists.into_iter().filter(|(_, list)| list.is_none()).map(|(name, _)| name).collect()
    }

    /// Returns the report for programs.
    pub fn to_json(&self) -> Value {
        let facts = &self.facts;
        let count = |list: &Option<CountedList>| {
            list.as_ref().map(|list| json!({"count": list.values.len(), "is_more": list.is_more}))
        };
        json!({
            "is_well": self.is_well(),
            "server": facts.server,
            "version": facts.own_node().and_then(|node| text(node, "/version")),
            "ready": facts.is_ready,
            "readiness": facts.ready,
            "nodes": facts.nodes.as_ref().map(|list| &list.values),
            "events_last_hour": count(&facts.events),
            "waiting": count(&facts.waiting),
            "oldest_waiting_at": facts.oldest_waiting(),
            "dead_letters": count(&facts.dead_letters),
            "attention": self.lines.iter().map(StatusLine::to_json).collect::<Vec<_>>(),
            "not_allowed": self.hidden(),
        })
    }

    /// Returns the report for people.
    pub fn lines(&self, look: ScreenLook, now: Timestamp) -> Vec<String> {
        let mut out = vec![self.headline(look, now), String::new()];
        out.extend(self.lines.iter().map(|line| line.text(look, now)));
        if !self.lines.is_empty() {
            out.push(String::new());
        }
        out.push(self.figures(now));
        let hidden = self.hidden();
        if !hidden.is_empty() {
            out.push(format!("This token may not read: {}.", hidden.join(", ")));
        }
        if let Some(next) = self.lines.iter().find_map(|line| line.next.as_deref()) {
            let arrow = if look.has_signs { "→" } else { "->" };
            out.push(ScreenTone::Quiet.paint(&format!("{arrow} {next}"), look));
        }
        out
    }

    fn headline(&self, look: ScreenLook, now: Timestamp) -> String {
        let attention = self.lines.iter().filter(|line| line.tone != ScreenTone::Quiet);
        let (bad, count) = attention.fold((false, 0), |(bad, count), line| {
            (bad || line.tone == ScreenTone::Bad, count + 1)
        });
        let tone = match (bad, count) {
            (true, _) => ScreenTone::Bad,
            (false, 0) => ScreenTone::Good,
            (false, _) => ScreenTone::Warning,
        };
        let sentence = match count {
            0 => "Everything is well.".to_owned(),
            1 => "1 thing needs attention.".to_owned(),
            count => format!("{count} things need attention."),
        };
        let mut head = format!("{} {sentence}", tone.paint(tone.sign(look), look));
        let _ = write!(head, "  {}", self.facts.server);
        if let Some(node) = self.facts.own_node() {
            let _ = write!(head, ", v{}", text(node, "/version").unwrap_or("?"));
            if let Some(started) = time(node, "/started_at") {
                let _ = write!(head, ", up {}", short_span(now.since(started)));
            }
        }
        let _ = write!(head, ", {}", self.facts.ready);
        head
    }

    fn figures(&self, now: Timestamp) -> String {
        let count = |list: &Option<CountedList>| match list {
            None => "?".to_owned(),
            Some(list) if list.is_more => format!("{} or more", list.values.len()),
            Some(list) => list.values.len().to_string(),
        };
        let facts = &self.facts;
        let oldest = facts.oldest_waiting().map_or_else(
            || "-".to_owned(),
            |oldest| {
                let older = facts.waiting.as_ref().is_some_and(|list| list.is_more);
                format!("{}{}", short_span(now.since(oldest)), if older { " or more" } else { "" })
            },
        );
        format!(
            "nodes {}   events in the last hour {}   waiting {}   oldest {oldest}   dead letters {}",
            count(&facts.nodes),
            count(&facts.events),
            count(&facts.waiting),
            count(&facts.dead_letters),
        )
    }
}

impl ServerFacts {
    fn judge_nodes(&self) -> Option<StatusLine> {
        let versions: std::collections::BTreeSet<&str> =
            values(self.nodes.as_ref()).iter().filter_map(|node| text(node, "/version")).collect();
        (versions.len() > 1).then(|| StatusLine {
            reason: format!("versions {}", versions.into_iter().collect::<Vec<_>>().join(", ")),
            next: Some("waybill node list".to_owned()),
            ..StatusLine::new(ScreenTone::Warning, "nodes", String::new(), "different")
        })
    }

    fn judge_endpoint(&self, endpoint: &Value) -> Option<StatusLine> {
        let id = text(endpoint, "/id")?;
        let name = name_of(endpoint);
        let waiting = Some(self.count_waiting(id));
        if endpoint.get("enabled") == Some(&json!(false)) {
            let reason = "the endpoint is disabled".to_owned();
            let line = StatusLine::new(ScreenTone::Quiet, "endpoint", name, "paused");
            return Some(StatusLine { reason, waiting, ..line });
        }
        if let Some(warning) = text(endpoint, "/warning") {
            let line = StatusLine::new(ScreenTone::Bad, "endpoint", name, "failing");
            return Some(StatusLine { reason: warning.to_owned(), waiting, ..line });
        }
        let since = self.retries_of(id).filter_map(|one| time(one, "/created_at")).min()?;
        let reason = self.reasons.iter().find(|(known, _)| known == id);
        Some(StatusLine {
            reason: reason.map_or_else(|| "retries wait".to_owned(), |(_, reason)| reason.clone()),
            since: Some(since),
            waiting,
            next: Some(format!("waybill endpoint test {name}")),
            ..StatusLine::new(ScreenTone::Bad, "endpoint", name, "failing")
        })
    }

    fn judge_dead_letters(&self) -> Option<StatusLine> {
        let list = self.dead_letters.as_ref().filter(|list| !list.values.is_empty())?;
        let newest = list.values.first()?;
        let place = text(newest, "/endpoint").or_else(|| text(newest, "/source")).unwrap_or("");
        let more = if list.is_more { " or more" } else { "" };
        let reason = text(newest, "/reason").unwrap_or_default();
        Some(StatusLine {
            reason: format!("{}{more}, the newest: {place} {reason}", list.values.len()),
            since: time(newest, "/created_at"),
            next: Some("waybill dead-letter list".to_owned()),
            ..StatusLine::new(ScreenTone::Bad, "dead letters", String::new(), "dead")
        })
    }
}

fn judge_source(source: &Value) -> Option<StatusLine> {
    let name = name_of(source);
    if source.get("enabled") == Some(&json!(false)) {
        let reason = "the source is disabled".to_owned();
        let line = StatusLine::new(ScreenTone::Quiet, "source", name, "paused");
        return Some(StatusLine { reason, ..line });
    }
    let next = Some(format!("waybill source show {name}"));
    if let Some(error) = text(source, "/run/error") {
        let since = time(source, "/run/finished_at");
        let line = StatusLine::new(ScreenTone::Bad, "source", name, "failing");
        return Some(StatusLine { reason: error.to_owned(), since, next, ..line });
    }
    let error = text(source, "/status/last_error")?;
    let since = time(source, "/status/last_error_at");
    // A later success shows that the error is over.
    if time(source, "/status/last_success_at") > since {
        return None;
    }
    let line = StatusLine::new(ScreenTone::Warning, "source", name, "refusing");
    Some(StatusLine { reason: error.to_owned(), since, next, ..line })
}

impl StatusLine {
    const fn new(tone: ScreenTone, kind: &'static str, name: String, state: &'static str) -> Self {
        let (since, waiting, next) = (None, None, None);
        Self { tone, kind, name, state, reason: String::new(), since, waiting, next }
    }

    fn to_json(&self) -> Value {
        json!({
            "kind": self.kind,
            "name": (!self.name.is_empty()).then_some(&self.name),
            "state": self.state,
            "reason": self.reason,
            "since": self.since,
            "waiting": self.waiting,
            "needs_attention": self.tone != ScreenTone::Quiet,
        })
    }

    fn text(&self, look: ScreenLook, now: Timestamp) -> String {
        let what = format!("{} {}", self.kind, self.name);
        let head = format!("{} {:<24} {:<8}", self.tone.sign(look), what.trim_end(), self.state);
        let mut line = format!("{} {}", self.tone.paint(&head, look), one_line(&self.reason));
        if let Some(since) = self.since {
            let _ = write!(line, "   {}", short_span(now.since(since)));
        }
        if let Some(waiting) = self.waiting.filter(|waiting| *waiting > 0) {
            let _ = write!(line, "   {waiting} waiting");
        }
        line
    }
}

/// Largest number of characters that are shown of a reason.
const REASON: usize = 72;

/// Formats a text in one line and cuts it if it is long. A server's text must not control the
/// terminal.
fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if plain.chars().count() <= REASON {
        return plain;
    }
    plain.chars().take(REASON - 1).chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    #[expect(
        clippy::needless_pass_by_value,
        clippy::unnecessary_wraps,
        reason = "as the tests write it"
    )]
    fn list(values: Value) -> Option<CountedList> {
        Some(CountedList { values: values.as_array().unwrap().clone(), is_more: false })
    }

    fn facts() -> ServerFacts {
        ServerFacts {
            is_ready: true,
            ready: "ready".to_owned(),
            nodes: list(json!([{"answers": true, "version": "1.2.3"}])),
            events: list(json!([])),
            waiting: list(json!([])),
            dead_letters: list(json!([])),
            endpoints: list(json!([{"id": "end_1", "name": "erp", "enabled": true}])),
            sources: list(json!([{"name": "crm", "enabled": true}])),
            ..ServerFacts::default()
        }
    }

    fn shown(report: &StatusReport) -> String {
        report.lines(ScreenLook::default(), NOW).join("\n")
    }

    #[test]
    fn a_quiet_server_is_well() {
        let report = StatusReport::judge(facts(), NOW);
        assert!(report.is_well());
        let shown = shown(&report);
        assert!(shown.starts_with("ok Everything is well.") && shown.contains("v1.2.3"), "{shown}");
        assert_eq!(report.to_json()["is_well"], true);
    }

    #[test]
    fn what_an_operator_paused_needs_no_attention() {
        let paused = list(json!([{"id": "end_1", "name": "erp", "enabled": false}]));
        let report = StatusReport::judge(ServerFacts { endpoints: paused, ..facts() }, NOW);
        assert!(report.is_well());
        assert!(shown(&report).contains("endpoint erp"), "{}", shown(&report));
    }

    #[test]
    fn a_failing_endpoint_is_named_with_its_reason() {
        let since = NOW.before(Duration::from_mins(36));
        let waiting = list(json!([
            {"id": "dlv_1", "endpoint_id": "end_1", "attempt_count": 2, "created_at": since}
        ]));
        let facts = ServerFacts {
            waiting,
            reasons: vec![("end_1".to_owned(), "connection refused".to_owned())],
            ..facts()
        };
        assert_eq!(facts.failing_examples(), [("end_1".to_owned(), "dlv_1".to_owned())]);
        let report = StatusReport::judge(facts, NOW);
        assert!(!report.is_well());
        let shown = shown(&report);
        for part in ["connection refused", "36m", "1 waiting", "-> waybill endpoint test erp"] {
            assert!(shown.contains(part), "no {part} in {shown}");
        }
    }

    #[test]
    fn an_error_of_a_source_is_over_after_a_success() {
        let source = |success: Timestamp| {
            let status = json!({
                "last_error": "bad signature", "last_error_at": NOW.before(Duration::from_mins(5)),
                "last_success_at": success,
            });
            let sources = list(json!([{"name": "crm", "enabled": true, "status": status}]));
            StatusReport::judge(ServerFacts { sources, ..facts() }, NOW)
        };
        assert!(source(NOW).is_well());
        assert!(!source(NOW.before(Duration::from_mins(9))).is_well());
    }

    #[test]
    fn what_may_not_be_read_is_said() {
        let report = StatusReport::judge(ServerFacts { sources: None, ..facts() }, NOW);
        assert!(report.is_well());
        assert!(shown(&report).contains("This token may not read: sources."), "{}", shown(&report));
    }

    #[test]
    fn a_reason_does_not_steer_the_terminal() {
        assert_eq!(one_line("a\u{1b}[2Jb\nc"), "a [2Jb c");
        assert_eq!(one_line(&"x".repeat(100)).chars().count(), REASON);
    }
}
