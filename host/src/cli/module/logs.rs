//! `waybill module logs`: shows the latest log lines of a module on the node that answers.

use std::collections::HashMap;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::Value;

use crate::cli::client::{CallBody, RemoteServer, ServerClient, escape_path};
use crate::cli::{CliError, CommandScreen};
use crate::settings::module_logs::MOST_LINES;
use crate::time::span::TimeSpan;
use crate::time::timestamp::Timestamp;

/// Interval at which a follower asks for new lines.
const PACE: Duration = Duration::from_secs(1);

/// Arguments of `waybill module logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The module's name.
    name: String,
    /// Go on with new lines until Ctrl-C.
    #[arg(long)]
    follow: bool,
    /// Only lines since this time, or of this last span of time, such as 10m.
    #[arg(long, value_name = "TIME|SPAN")]
    since: Option<String>,
    /// Largest number of lines to begin with, 1 to 1,000. These are the newest.
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: usize,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Reads the lines of a module. Each node has lines and numbers of its own, and another node may
/// answer at any time.
struct LogReader {
    client: ServerClient,
    /// Path of the module's log.
    path: String,
    /// Path with the query for the newest lines.
    newest: String,
    /// The node that answered last.
    node: String,
    /// Number of the last line that was shown, by node.
    shown: HashMap<String, u64>,
}

pub async fn show_logs(args: LogsArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let now = screen.clock().wall();
    let since = args.since.as_deref().map(|text| read_since(text, now)).transpose()?;
    let since = since.map(|at| format!("&since={}", escape_path(&at.to_string())));
    let client = args.remote.connect(screen)?;
    let path = format!("/modules/{}/logs", escape_path(&args.name));
    let newest = format!("{path}?limit={}{}", args.limit, since.unwrap_or_default());
    let (node, shown) = (String::new(), HashMap::new());
    let mut reader = LogReader { client, path, newest, node, shown };
    reader.show_newest(screen).await?;
    if !args.follow {
        return Ok(());
    }
    tokio::select! {
        ended = reader.follow(screen) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

impl LogReader {
    /// Shows new lines until a call fails.
    async fn follow(&mut self, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
        loop {
            tokio::time::sleep(PACE).await;
            let after = self.shown.get(&self.node).copied().unwrap_or_default();
            let next = format!("{}?limit={MOST_LINES}&after={after}", self.path);
            let answer = self.client.call_api(Method::GET, &next, CallBody::None).await?;
            if read_place(&answer)?.0 == self.node {
                self.show_answer(&answer, screen)?;
            } else {
                // The number was one of the node before, so this answer may lack lines.
                self.show_newest(screen).await?;
            }
        }
    }

    async fn show_newest(&mut self, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
        let answer = self.client.call_api(Method::GET, &self.newest, CallBody::None).await?;
        self.show_answer(&answer, screen)
    }

    /// Shows the lines of an answer that were not shown yet.
    fn show_answer(
        &mut self,
        answer: &Value,
        screen: &mut CommandScreen<'_>,
    ) -> Result<(), CliError> {
        let (node, last) = read_place(answer)?;
        let is_other = !self.node.is_empty() && node != self.node;
        if is_other && screen.is_human() {
            screen.print_line(format!("(lines of node {node})"))?;
        }
        let missed = answer.get("missed").and_then(Value::as_u64).unwrap_or_default();
        if missed > 0 && screen.is_human() {
            screen.print_line(format!("(lines that are no longer kept: {missed})"))?;
        }
        for line in find_unshown(answer, self.shown.get(node).copied(), last) {
            if screen.is_human() {
                screen.print_line(draw_line(line))?;
            } else {
                // One value on each line, for programs that read the lines as they come.
                screen.print_line(line)?;
            }
        }
        self.shown.insert(node.to_owned(), last);
        node.clone_into(&mut self.node);
        Ok(())
    }
}

/// Returns the node of an answer, and the number after which the next request goes on.
fn read_place(answer: &Value) -> Result<(&str, u64), CliError> {
    let node = answer.get("node").and_then(Value::as_str);
    let last = answer.get("last").and_then(Value::as_u64);
    node.zip(last).ok_or_else(|| CliError::failed("the server's answer has no `node` or no `last`"))
}

/// Returns the lines after the last one that was shown. All of them if their numbers began again.
fn find_unshown(answer: &Value, shown: Option<u64>, last: u64) -> impl Iterator<Item = &Value> {
    let shown = shown.filter(|shown| *shown <= last).unwrap_or_default();
    let number = |line: &Value| line.get("number").and_then(Value::as_u64).unwrap_or_default();
    let lines = answer.get("lines").and_then(Value::as_array).into_iter().flatten();
    lines.filter(move |line| number(line) > shown)
}

/// Formats a line: time, level, flow, event, text and fields.
fn draw_line(line: &Value) -> String {
    let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut drawn = format!(
        "{}  {:<5}  {}  {}  {}",
        text("at"),
        text("level"),
        text("flow"),
        text("event_id"),
        text("message")
    );
    for field in line.get("fields").and_then(Value::as_array).into_iter().flatten() {
        let part = |n: usize| field.get(n).and_then(Value::as_str).unwrap_or_default();
        drawn.extend(["  ", part(0), "=", part(1)]);
    }
    // A text of a module or of a sender must not control the terminal.
    drawn.replace(char::is_control, " ")
}

/// Reads a time, or a span of time before now.
fn read_since(text: &str, now: Timestamp) -> Result<Timestamp, CliError> {
    if let Ok(span) = text.parse::<TimeSpan>() {
        return Ok(now.before(span.get()));
    }
    Timestamp::parse_query(text).map_err(|error| {
        CliError::Usage(format!("--since: {error}; give a time, or a span of time such as 10m"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_shows_where_it_comes_from_and_its_fields() {
        let line = json!({"at": "2026-01-01T00:00:00Z", "level": "warn", "flow": "f", "event_id": "evt_1",
            "message": "no\u{1b}tax line", "fields": [["invoice", "17"]]});
        assert_eq!(
            draw_line(&line),
            "2026-01-01T00:00:00Z  warn   f  evt_1  no tax line  invoice=17"
        );
    }

    #[test]
    fn lines_that_were_shown_are_not_shown_again() {
        let answer = json!({"node": "a", "last": 3, "lines": [{"number": 2}, {"number": 3}]});
        let unshown = |shown| find_unshown(&answer, shown, 3).count();
        assert_eq!([unshown(None), unshown(Some(2)), unshown(Some(3))], [2, 1, 0]);
        assert_eq!(unshown(Some(99)), 2, "the numbers began again");
        assert_eq!(read_place(&answer).unwrap(), ("a", 3));
        assert!(read_place(&json!({})).is_err());
    }

    #[test]
    fn since_is_a_time_or_a_span() {
        let now = Timestamp::parse("2026-01-01T00:10:00Z").unwrap();
        let earlier = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        assert_eq!(read_since("10m", now).unwrap(), earlier);
        assert_eq!(read_since("2026-01-01T00:00:00Z", now).unwrap(), earlier);
        assert!(read_since("yesterday", now).is_err());
    }
}
