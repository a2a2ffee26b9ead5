//! `waybill flow backtest`: runs the last stored events of a flow through its present module
//! versions and through others, and compares the results. Nothing is stored or sent.

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::run::{VersionArgs, call_dry_run};
use crate::api::dry_run::run_comparison::BacktestCounts;
use crate::cli::client::{CallBody, QueryParameters, RemoteServer, ServerClient, escape_path};
use crate::cli::{CliError, CommandScreen};
use crate::json::members::{read_list, read_text};
use crate::model::flow::FlowSettings;

/// Largest number of events in one backtest. Each needs two dry runs.
const MOST_EVENTS: u64 = 1_000;
/// Number of stored events that are searched for those that the flow accepts.
const LOOKED_THROUGH: usize = 10_000;
/// Number of events in one page.
const PAGE: usize = 200;

/// Arguments of `waybill flow backtest`.
#[derive(Debug, Args)]
pub struct FlowBacktestArgs {
    /// Name or id of the flow.
    name: String,
    /// Number of the newest events that the flow accepts, 1 to 1,000.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100,
        value_parser = clap::value_parser!(u64).range(1..=MOST_EVENTS)
    )]
    last: u64,
    #[command(flatten)]
    versions: VersionArgs,
    #[command(flatten)]
    remote: RemoteServer,
}

pub async fn run_backtest(
    args: FlowBacktestArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    if args.versions.is_empty() {
        return Err(CliError::Usage(
            "name a version to try: --module NAME=VERSION, such as hot-leads=3".to_owned(),
        ));
    }
    let modules = args.versions.read()?;
    let client = args.remote.connect(screen)?;
    let mut counts = BacktestCounts::default();
    let last = usize::try_from(args.last).unwrap_or(usize::MAX);
    for id in list_events(&client, &args.name, last, &mut counts).await? {
        let present = json!({"event_id": id});
        let present = call_dry_run(&client, &args.name, present).await?;
        let tried = json!({"event_id": id, "modules": modules});
        let tried = call_dry_run(&client, &args.name, tried).await?;
        counts.count_event(&id, &present, &tried);
    }
    if screen.is_human() {
        for line in counts.describe() {
            screen.print_line(line)?;
        }
    } else {
        screen.print_json(&counts.as_json())?;
    }
    match counts.newly_failing {
        0 => Ok(()),
        many => Err(CliError::failed(format!("{many} events would fail that do not fail now"))),
    }
}

/// Returns the ids of the newest stored events that the flow accepts.
async fn list_events(
    client: &ServerClient,
    flow: &str,
    last: usize,
    counts: &mut BacktestCounts,
) -> Result<Vec<String>, CliError> {
    let path = format!("/flows/{}", escape_path(flow));
    let mut flow = client.call_api(Method::GET, &path, CallBody::None).await?;
    if let Some(members) = flow.as_object_mut() {
        for name in ["id", "created_at", "updated_at", "warning", "health"] {
            members.shift_remove(name);
        }
    }
    let settings: FlowSettings = serde_json::from_value(flow).map_err(|error| {
        CliError::failed(format!("the server's answer about the flow cannot be read: {error}"))
    })?;
    let mut query = QueryParameters::default();
    if let [source] = settings.sources.as_slice() {
        query.add("source", Some(source.clone()));
    }
    let takes = |event: &&Value| {
        let (source, kind) = (read_text(event, "source"), read_text(event, "type"));
        settings.wants(source, |pattern| pattern.matches(kind))
    };
    let (mut ids, mut looked_through, mut cursor) = (Vec::new(), 0, None);
    while looked_through < LOOKED_THROUGH {
        let mut page = query.clone();
        page.add("limit", Some(PAGE.to_string()));
        page.add("cursor", cursor);
        let path = format!("/events{page}");
        let answer = client.read_answer(Method::GET, &path, CallBody::None).await?;
        let found = read_list(&answer, "data");
        looked_through += found.len();
        for event in found.iter().filter(takes) {
            if ids.len() + counts.without_payload >= last {
                return Ok(ids);
            }
            match event.get("payload_pruned_at") {
                Some(_) => counts.without_payload += 1,
                None => ids.push(read_text(event, "id").to_owned()),
            }
        }
        cursor = answer.pointer("/meta/next_cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    Ok(ids)
}
