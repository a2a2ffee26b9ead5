//! `waybill status`: shows on one screen whether the server is well.

pub mod report;

use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::client::{CallBody, QueryParameters, RemoteServer, ServerClient, escape_path};
use super::{CliError, CommandScreen};
use crate::time::timestamp::Timestamp;
use report::{CountedList, ServerFacts, StatusReport};

/// Largest number of objects of a kind that are read: five calls. Above it the count is shown as
/// `1000 or more`.
const MOST: usize = 1_000;
/// Number of endpoints whose last attempt is looked up, with one call each.
const REASONS: usize = 5;
/// Exit status if no server answers.
const UNREACHABLE: u8 = 3;

/// Arguments of `waybill status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Repeat until interrupted.
    #[arg(long)]
    watch: bool,
    /// Interval of --watch in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, requires = "watch",
        value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Prints the status, once or until interrupted. Fails with exit status 1 if something needs
/// attention, and 3 if no server answers.
pub async fn run_status(args: StatusArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    if !args.watch {
        return show_status(&client, false, screen).await;
    }
    let mut tick = tokio::time::interval(Duration::from_secs(args.every));
    let mut last = Ok(());
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = tokio::signal::ctrl_c() => return last,
        }
        last = tokio::select! {
            shown = show_status(&client, true, screen) => shown,
            _ = tokio::signal::ctrl_c() => return last,
        };
        match &last {
            Ok(()) | Err(CliError::Reported) => {}
            // The server may come back while somebody watches.
            Err(error @ CliError::Unreachable { .. }) if screen.is_human() => {
                screen.clear()?;
                screen.print_line(error)?;
            }
            Err(error @ CliError::Unreachable { .. }) => screen.print_line(error.to_json())?,
            Err(_) => return last,
        }
    }
}

async fn show_status(
    client: &ServerClient,
    watched: bool,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let now = screen.clock().wall();
    let facts = gather_facts(client, now).await.map_err(with_own_status)?;
    let report = StatusReport::judge(facts, now);
    match (screen.is_human(), watched) {
        (true, watched) => {
            if watched {
                screen.clear()?;
            }
            for line in report.lines(screen.look(), now) {
                screen.print_line(line)?;
            }
        }
        (false, true) => screen.print_line(report.to_json())?,
        (false, false) => screen.print_json(&report.to_json())?,
    }
    if report.is_well() { Ok(()) } else { Err(CliError::Reported) }
}

/// Sets the exit status of this command on the failure to reach a server.
fn with_own_status(error: CliError) -> CliError {
    let CliError::Unreachable { server, source, .. } = error else { return error };
    CliError::Unreachable { server, source, exit_status: UNREACHABLE }
}

async fn gather_facts(client: &ServerClient, now: Timestamp) -> Result<ServerFacts, CliError> {
    let (ready_status, ready) = client.ask_root("/readyz").await?;
    let ready = ready.get("status").and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let mut recent = QueryParameters::default();
    recent.add("since", Some(now.before(Duration::from_hours(1)).to_string()));
    let mut pending = QueryParameters::default();
    pending.add("status", Some("pending".to_owned()));
    let all = QueryParameters::default();
    let mut facts = ServerFacts {
        server: client.server().to_owned(),
        is_ready: ready_status == 200,
        ready,
        nodes: read_list(client, "/nodes", &all).await?,
        events: read_list(client, "/events", &recent).await?,
        waiting: read_list(client, "/deliveries", &pending).await?,
        dead_letters: read_list(client, "/dead-letters", &all).await?,
        endpoints: read_list(client, "/endpoints", &all).await?,
        sources: read_list(client, "/sources", &all).await?,
        reasons: Vec::new(),
    };
    for (endpoint, delivery) in facts.failing_examples().into_iter().take(REASONS) {
        let path = format!("/deliveries/{}", escape_path(&delivery));
        let trace = client.call_api(Method::GET, &path, CallBody::None).await?;
        facts.reasons.push((endpoint, report::last_failure(&trace)));
    }
    Ok(facts)
}

/// Returns a list, up to [`MOST`] elements. Returns `None` if the token may not read it.
async fn read_list(
    client: &ServerClient,
    path: &str,
    query: &QueryParameters,
) -> Result<Option<CountedList>, CliError> {
    match client.list_pages(path, query, MOST).await {
        Ok(values) => Ok(Some(CountedList { is_more: values.len() == MOST, values })),
        Err(CliError::Problem(problem)) if problem.status == 403 => Ok(None),
        Err(error) => Err(error),
    }
}
