//! `waybill plan-capacity`: how many nodes, cells and bytes a number of events needs.
//!
//! The result is arithmetic on measured costs. All costs are printed with it. An operator can
//! replace them by costs that were measured on other machines.

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{CliError, CommandScreen};

/// Processor time of a node for a captured event, in microseconds: webhooks received by a release
/// build on SQLite, which runs in the same process.
const NODE_CAPTURE_US: f64 = 87.0;
/// The same for a delivery: 167 for an event with one delivery, less the capture.
const NODE_DELIVERY_US: f64 = 80.0;
/// The same for an event that passes a module in Rust: a development build, so an upper bound.
const NODE_MODULE_US: f64 = 381.0;
/// Processor time of PostgreSQL 15 for a captured event and for each of its deliveries, in
/// microseconds: 6,400 events of 1.9 kB with 0, 1 and 3 deliveries on two busy cores.
const DATABASE_CAPTURE_US: f64 = 80.0;
const DATABASE_DELIVERY_US: f64 = 60.0;
/// The same for a plan. Not measured: a cautious figure.
const DATABASE_MODULE_US: f64 = 100.0;
/// Part of a payload that compression leaves (decision 88).
const PACKED_PART: f64 = 0.28;
/// Further bytes of an event and of each delivery in PostgreSQL, in the run above.
const EVENT_BYTES: f64 = 1_890.0;
const DELIVERY_BYTES: f64 = 1_040.0;
/// The same in PostgreSQL's write-ahead log.
const EVENT_WAL: f64 = 2_230.0;
const DELIVERY_WAL: f64 = 1_560.0;
/// Bytes of a message of the capture log, and of each of its events, besides the payloads.
const MESSAGE_BYTES: f64 = 100.0;
const EVENT_IN_MESSAGE: f64 = 200.0;
/// Seconds for which the capture log keeps messages: `capture.repeats` and an eighth.
const STREAM_KEPT: f64 = 675.0;
/// Messages a second of one stream with three servers. Not measured: a cautious figure.
const STREAM_MESSAGES: f64 = 20_000.0;
/// Share of the processors that is planned for, so that peaks and the loss of a node find room.
const PLANNED_USE: f64 = 0.5;
/// Share of a disk that is planned for: PostgreSQL reuses space only after a vacuum.
const PLANNED_DISK: f64 = 0.7;
const DAY: f64 = 86_400.0;

/// Arguments of `waybill plan-capacity`.
#[derive(Debug, Clone, Args)]
pub struct CapacityArgs {
    /// Events a second, on average over the busiest hour.
    #[arg(long, value_name = "N", value_parser = parse_positive)]
    events_per_second: f64,
    /// Bytes of an event's payload.
    #[arg(long, value_name = "BYTES", default_value = "1000", value_parser = parse_positive)]
    payload: f64,
    /// Deliveries of an event.
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_amount)]
    fan_out: f64,
    /// Days for which events and deliveries are kept.
    #[arg(long, value_name = "DAYS", default_value = "30", value_parser = parse_positive)]
    retention_days: f64,
    /// Share of the events that pass a module, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = parse_share)]
    module_share: f64,
    /// Events in one request. A request is one message of the capture log.
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_positive)]
    events_per_request: f64,
    /// Minutes for which the capture log holds events while PostgreSQL is away.
    #[arg(long, value_name = "MINUTES", default_value = "60", value_parser = parse_amount)]
    outage_minutes: f64,
    /// Processor cores of a node.
    #[arg(long, value_name = "N", default_value = "8", value_parser = parse_positive)]
    node_cores: f64,
    /// Processor cores of a PostgreSQL server.
    #[arg(long, value_name = "N", default_value = "16", value_parser = parse_positive)]
    database_cores: f64,
    /// Microseconds of a node's processors for an event, instead of the measured ones.
    #[arg(long, value_name = "US", value_parser = parse_positive)]
    node_us: Option<f64>,
    /// Microseconds of PostgreSQL's processors for an event, instead of the measured ones.
    #[arg(long, value_name = "US", value_parser = parse_positive)]
    database_us: Option<f64>,
    /// Print JSON on a terminal too.
    #[arg(long)]
    json: bool,
}

fn parse_number(text: &str, fits: impl Fn(f64) -> bool, what: &str) -> Result<f64, String> {
    let number: Result<f64, _> = text.replace([',', '_'], "").parse();
    number.ok().filter(|number| fits(*number)).ok_or_else(|| format!("must be {what}"))
}

fn parse_positive(text: &str) -> Result<f64, String> {
    parse_number(text, |number| number > 0.0 && number <= 1e12, "a number above 0")
}

fn parse_amount(text: &str) -> Result<f64, String> {
    parse_number(text, |number| (0.0..=1e9).contains(&number), "0 or more")
}

fn parse_share(text: &str) -> Result<f64, String> {
    parse_number(text, |number| (0.0..=1.0).contains(&number), "0 to 1")
}

/// The cost of one event.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EventCost {
    /// Microseconds of a node's processors.
    node_us: f64,
    /// Microseconds of PostgreSQL's processors.
    database_us: f64,
    /// Bytes in PostgreSQL.
    database_bytes: f64,
    /// Bytes of PostgreSQL's write-ahead log.
    wal_bytes: f64,
    /// Bytes in the capture log, on each of its servers.
    stream_bytes: f64,
}

/// What the events need.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CapacityPlan {
    /// PostgreSQL servers, each with nodes of its own.
    cells: u64,
    /// Events a second of one cell.
    cell_events: f64,
    /// Nodes of one cell.
    cell_nodes: u64,
    nodes: u64,
    /// Cores of all nodes, and of all PostgreSQL servers.
    node_cores: f64,
    database_cores: f64,
    /// Bytes of one PostgreSQL server's disk.
    cell_disk: f64,
    disk: f64,
    /// Bytes a second that one PostgreSQL server writes to its log.
    cell_wal: f64,
    /// Messages a second of the capture log.
    messages: f64,
    /// Streams that share them.
    streams: u64,
    /// Bytes of all streams, on each of three servers.
    stream_size: f64,
    /// Whether the events need a capture log, because several cells share them.
    needs_log: bool,
}

impl CapacityArgs {
    /// Returns the cost of one event.
    fn cost(&self) -> EventCost {
        let Self { payload, fan_out, module_share, events_per_request, .. } = self;
        let node_us = NODE_CAPTURE_US + NODE_DELIVERY_US * fan_out + NODE_MODULE_US * module_share;
        let database_us = DATABASE_CAPTURE_US
            + DATABASE_DELIVERY_US * fan_out
            + DATABASE_MODULE_US * module_share;
        let packed = payload * PACKED_PART;
        EventCost {
            node_us: self.node_us.unwrap_or(node_us),
            database_us: self.database_us.unwrap_or(database_us),
            database_bytes: packed + EVENT_BYTES + DELIVERY_BYTES * fan_out,
            wal_bytes: packed + EVENT_WAL + DELIVERY_WAL * fan_out,
            stream_bytes: payload + EVENT_IN_MESSAGE + MESSAGE_BYTES / events_per_request,
        }
    }

    /// Computes what the events need.
    fn plan(&self, cost: EventCost) -> CapacityPlan {
        let rate = self.events_per_second;
        let per_core = 1_000_000.0 * PLANNED_USE;
        let cell_limit = self.database_cores * per_core / cost.database_us;
        let by_database = round_up(rate / cell_limit).max(1);
        let LogShare { cells, streams, messages } = self.share_log(by_database);
        let cell_events = rate / as_float(cells);
        let busy = cell_events * cost.node_us / (self.node_cores * per_core);
        // One more than the load needs, so that one can be lost or restarted.
        let cell_nodes = round_up(busy).saturating_add(1);
        let nodes = cell_nodes.saturating_mul(cells);
        let disk = rate * DAY * self.retention_days * cost.database_bytes / PLANNED_DISK;
        let held = STREAM_KEPT + self.outage_minutes * 60.0;
        CapacityPlan {
            cells,
            cell_events,
            cell_nodes,
            nodes,
            node_cores: as_float(nodes) * self.node_cores,
            database_cores: as_float(cells) * self.database_cores,
            cell_disk: disk / as_float(cells),
            disk,
            cell_wal: cell_events * cost.wal_bytes,
            messages,
            streams,
            stream_size: rate * held * cost.stream_bytes,
            needs_log: by_database > 1,
        }
    }

    /// Divides the cells that PostgreSQL needs over streams. A stream has cells of its own, and a
    /// request becomes a message in each cell of its stream that one of its events belongs to.
    fn share_log(&self, by_database: u64) -> LogShare {
        let requests = self.events_per_second / self.events_per_request;
        let needed = |messages: f64| round_up(messages / STREAM_MESSAGES).max(1);
        if by_database == 1 {
            return LogShare { cells: 1, streams: needed(requests), messages: requests };
        }
        let mut streams = 1;
        loop {
            let each = by_database.div_ceil(streams);
            let messages = requests * touched_cells(as_float(each), self.events_per_request);
            let missing = needed(messages).saturating_sub(streams);
            if missing == 0 {
                return LogShare { cells: each * streams, streams, messages };
            }
            // In small steps: with fewer cells in each stream, a request becomes fewer messages.
            streams += (missing / 16).max(1);
        }
    }
}

/// How the capture log is divided.
struct LogShare {
    cells: u64,
    streams: u64,
    /// Messages a second of all streams.
    messages: f64,
}

/// Returns the mean number of cells that the events of a request belong to, if each event may belong
/// to any.
fn touched_cells(cells: f64, events: f64) -> f64 {
    cells * (1.0 - (1.0 - 1.0 / cells).powf(events.max(1.0)))
}

/// Rounds up to a whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the arguments bound it to 1e12 events of a few milliseconds"
)]
fn round_up(number: f64) -> u64 {
    number.max(0.0).ceil() as u64
}

#[expect(clippy::cast_precision_loss, reason = "a number of machines")]
const fn as_float(count: u64) -> f64 {
    count as f64
}

/// Prints what the given numbers need.
pub fn plan_capacity(args: &CapacityArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    screen.force_json(args.json);
    let cost = args.cost();
    let plan = args.plan(cost);
    if !screen.is_human() {
        let assumptions: Vec<_> = assumptions(args)
            .into_iter()
            .map(|(name, value)| json!({"assumption": name, "value": value}))
            .collect();
        let shown = json!({"plan": plan, "cost_of_an_event": cost, "assumptions": assumptions});
        return Ok(screen.print_json(&shown)?);
    }
    screen.print_table(&["needed", "in one cell", "together"], plan_rows(&plan))?;
    screen.print_line("")?;
    screen.print_table(&["cost of one event", ""], cost_rows(cost))?;
    screen.print_line("")?;
    let rows = assumptions(args).into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    Ok(screen.print_table(&["assumption", ""], rows.collect())?)
}

fn plan_rows(plan: &CapacityPlan) -> Vec<Vec<String>> {
    let row = |name: &str, one: String, all: String| vec![name.to_owned(), one, all];
    let messages = if plan.needs_log { "capture log" } else { "capture log (optional)" };
    vec![
        row("PostgreSQL cells", "1".to_owned(), group(as_float(plan.cells))),
        row(
            "events a second",
            group(plan.cell_events),
            group(plan.cell_events * as_float(plan.cells)),
        ),
        row("nodes", group(as_float(plan.cell_nodes)), group(as_float(plan.nodes))),
        row(
            "cores of nodes",
            group(plan.node_cores / as_float(plan.cells)),
            group(plan.node_cores),
        ),
        row(
            "cores of PostgreSQL",
            group(plan.database_cores / as_float(plan.cells)),
            group(plan.database_cores),
        ),
        row("disk of PostgreSQL", bytes(plan.cell_disk), bytes(plan.disk)),
        row(
            "log of PostgreSQL a second",
            bytes(plan.cell_wal),
            bytes(plan.cell_wal * as_float(plan.cells)),
        ),
        row(messages, String::new(), format!("{} messages a second", group(plan.messages))),
        row("its streams, of 3 servers each", String::new(), group(as_float(plan.streams))),
        row("their size on each server", String::new(), bytes(plan.stream_size)),
    ]
}

fn cost_rows(cost: EventCost) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    vec![
        row("processor of a node", format!("{:.0} µs", cost.node_us)),
        row("processor of PostgreSQL", format!("{:.0} µs", cost.database_us)),
        row("PostgreSQL's disk", bytes(cost.database_bytes)),
        row("PostgreSQL's log", bytes(cost.wal_bytes)),
        row("the capture log", bytes(cost.stream_bytes)),
    ]
}

/// Returns the assumptions, each with its value.
fn assumptions(args: &CapacityArgs) -> Vec<(&'static str, String)> {
    let minutes = |seconds: f64| format!("{} minutes", group(seconds / 60.0));
    vec![
        ("payload", bytes(args.payload)),
        ("deliveries of an event", args.fan_out.to_string()),
        ("share of events with modules", args.module_share.to_string()),
        ("days kept", args.retention_days.to_string()),
        ("events in a request", args.events_per_request.to_string()),
        ("cores of a node", args.node_cores.to_string()),
        ("cores of a PostgreSQL server", args.database_cores.to_string()),
        ("planned use of processors", format!("{:.0} %", PLANNED_USE * 100.0)),
        ("planned use of disks", format!("{:.0} %", PLANNED_DISK * 100.0)),
        ("part of a payload that stays after compression", format!("{:.0} %", PACKED_PART * 100.0)),
        ("spare nodes in each cell", "1".to_owned()),
        ("messages a second of one stream", group(STREAM_MESSAGES)),
        ("the log keeps messages for repeats", minutes(STREAM_KEPT)),
        ("and without PostgreSQL", minutes(args.outage_minutes * 60.0)),
    ]
}

/// Returns a number with a comma between groups of three digits. Below ten it has one decimal.
fn group(number: f64) -> String {
    let text = if number < 10.0 && number.fract() > 0.0 {
        format!("{number:.1}")
    } else {
        format!("{number:.0}")
    };
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), ""), |(w, r)| (w, r));
    let mut grouped = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if rest.is_empty() { grouped } else { format!("{grouped}.{rest}") }
}

/// Returns a number of bytes in the unit that fits.
fn bytes(count: f64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1_000.0 {
        return format!("{count:.0} B");
    }
    let (mut rest, mut unit) = (count / 1_000.0, "kB");
    for next in UNITS.into_iter().skip(1) {
        if rest < 1_000.0 {
            break;
        }
        (rest, unit) = (rest / 1_000.0, next);
    }
    let shown = if rest < 10.0 { format!("{rest:.1}") } else { group(rest) };
    format!("{shown} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{CliCommand, CommandLine, run_command};
    use clap::Parser as _;
    use serde_json::Value;

    async fn run(args: &[&str], is_terminal: bool) -> String {
        let line = ["waybill", "plan-capacity"].iter().chain(args);
        let CommandLine { command, .. } = CommandLine::try_parse_from(line).unwrap();
        assert!(matches!(command, CliCommand::PlanCapacity(_)));
        let mut out = Vec::new();
        run_command(command, &mut CommandScreen::new(&mut out, is_terminal)).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    async fn plan(args: &[&str]) -> Value {
        serde_json::from_str(&run(args, false).await).unwrap()
    }

    #[tokio::test]
    async fn a_plan_follows_from_the_costs_of_an_event() {
        let own = ["--node-us", "200", "--database-us", "100", "--node-cores", "4"];
        let own = [&own[..], &["--database-cores", "10", "--retention-days", "1"]].concat();
        let needed = async |rate: &str| {
            plan(&[&["--events-per-second", rate], &own[..]].concat()).await["plan"].clone()
        };
        // A cell has 10 cores, half used: 50,000 events a second. A node has 4: 10,000.
        let one = needed("10,000").await;
        assert_eq!((&one["cells"], &one["nodes"]), (&json!(1), &json!(2)));
        assert_eq!(one["needs_log"], json!(false));
        let many = needed("1,000,000").await;
        // PostgreSQL needs 20 cells. A stream takes 20,000 messages, and a cell has one stream.
        assert_eq!((&many["cells"], &many["cell_nodes"]), (&json!(50), &json!(3)));
        assert_eq!((&many["nodes"], &many["node_cores"]), (&json!(150), &json!(600.0)));
        assert_eq!(many["needs_log"], json!(true));
        let disk = |plan: &Value| plan["disk"].as_f64().unwrap();
        assert!((disk(&many) / disk(&one) - 100.0).abs() < 1e-6);
    }

    #[test]
    fn a_request_is_a_message_in_each_cell_that_it_touches() {
        let shown = |cells, events| format!("{:.1}", touched_cells(cells, events));
        assert_eq!([shown(1.0, 20.0), shown(6.0, 1.0), shown(6.0, 20.0)], ["1.0", "1.0", "5.8"]);
    }

    #[tokio::test]
    async fn a_terminal_gets_tables_with_the_assumptions() {
        let shown = run(&["--events-per-second", "100000", "--fan-out", "2"], true).await;
        for text in ["PostgreSQL cells", "nodes", "stream", "µs", "assumption", "planned use"] {
            assert!(shown.contains(text), "{text}: {shown}");
        }
        assert!(shown.contains("100,000"), "{shown}");
    }

    #[test]
    fn numbers_that_mean_nothing_are_refused() {
        for wrong in ["0", "-1", "x", "NaN", "inf"] {
            let line = ["waybill", "plan-capacity", "--events-per-second", wrong];
            assert!(CommandLine::try_parse_from(line).is_err(), "{wrong}");
        }
    }

    #[test]
    fn amounts_are_easy_to_read() {
        assert_eq!([group(1_234_567.0), group(999.0), group(2.5)], ["1,234,567", "999", "2.5"]);
        assert_eq!([bytes(12.0), bytes(1_500.0), bytes(2.5e13)], ["12 B", "1.5 kB", "25 TB"]);
    }
}
