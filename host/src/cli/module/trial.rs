//! `waybill module shadow`, `canary`, `trial`, `promote` and `rollback`: tries a version on live
//! events.

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::manage::with_warning;
use crate::cli::client::{CallBody, RemoteServer, ServerClient, escape_path};
use crate::cli::{CliError, CommandScreen};
use crate::json::members::{read_list, read_text};

/// The version of a trial, and its conditions.
#[derive(Debug, Args)]
struct TriedVersion {
    /// Name of the module.
    name: String,
    /// Version to try.
    version: u32,
    /// Approve a capability that it requests, such as `http:api.example.com`; `http` means all its
    /// hosts.
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    approve: Vec<String>,
    /// Try it even if its sample cases fail; the audit shows that.
    #[arg(long)]
    force: bool,
}

/// Arguments of `waybill module shadow`.
#[derive(Debug, Args)]
pub struct ShadowArgs {
    #[command(flatten)]
    tried: TriedVersion,
    /// Share of the events, in percent [default: 100].
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    share: Option<u32>,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Arguments of `waybill module canary`.
#[derive(Debug, Args)]
pub struct CanaryArgs {
    #[command(flatten)]
    tried: TriedVersion,
    /// Share of the records, in percent [default: 10, or that of the running canary].
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    share: Option<u32>,
    /// Roll back if more calls than this fail, in percent, and more than of the active version
    /// [default: 5].
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    max_failure_rate: Option<u32>,
    /// Number of calls from which failures are judged [default: 50].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    min_calls: Option<u32>,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Arguments of `waybill module trial` and `rollback`.
#[derive(Debug, Args)]
pub struct TrialArgs {
    /// Name of the module.
    name: String,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Arguments of `waybill module promote`.
#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// Name of the module.
    name: String,
    /// Activate it even if its sample cases fail; the audit shows that.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    remote: RemoteServer,
}

pub async fn begin_shadow(
    args: ShadowArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let ShadowArgs { tried, share, remote } = args;
    let client = remote.connect(screen)?;
    let body = json!({"share": share, "approve": tried.approve, "force": tried.force});
    let answer = begin_trial(&client, "shadow", &tried, body).await?;
    let said = format!(
        "{} version {} shadows version {} on {} % of the events, without effect; `waybill module trial {0}` compares them",
        tried.name,
        tried.version,
        answer.pointer("/active/version").unwrap_or(&Value::Null),
        answer.get("share").unwrap_or(&Value::Null)
    );
    Ok(screen.print_outcome(with_warning(said, &answer), &answer)?)
}

pub async fn begin_canary(
    args: CanaryArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let CanaryArgs { tried, share, max_failure_rate, min_calls, remote } = args;
    let client = remote.connect(screen)?;
    let body = json!({
        "share": share, "max_failure_rate": max_failure_rate, "min_calls": min_calls,
        "approve": tried.approve, "force": tried.force,
    });
    let answer = begin_trial(&client, "canary", &tried, body).await?;
    let number = |name: &str| answer.get(name).cloned().unwrap_or_default();
    let said = format!(
        "{} version {} runs for {} % of the records from now on; it is rolled back if more than {} % of at least {} \
         calls fail, and more than of the active version",
        tried.name,
        tried.version,
        number("share"),
        number("max_failure_rate"),
        number("min_calls")
    );
    Ok(screen.print_outcome(with_warning(said, &answer), &answer)?)
}

async fn begin_trial(
    client: &ServerClient,
    mode: &str,
    tried: &TriedVersion,
    body: Value,
) -> Result<Value, CliError> {
    let path = format!("/modules/{}/versions/{}/{mode}", escape_path(&tried.name), tried.version);
    client.call_api(Method::POST, &path, CallBody::Json(body)).await
}

pub async fn show_trial(args: TrialArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let path = format!("/modules/{}/trial", escape_path(&args.name));
    let answer = client.call_api(Method::GET, &path, CallBody::None).await?;
    if !screen.is_human() {
        return Ok(screen.print_json(&answer)?);
    }
    for line in describe_trial(&answer) {
        screen.print_line(line)?;
    }
    Ok(())
}

pub async fn promote_module(
    args: PromoteArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let path = format!("/modules/{}/promote", escape_path(&args.name));
    let body = CallBody::Json(json!({ "force": args.force }));
    let answer = client.call_api(Method::POST, &path, body).await?;
    let version = answer.get("version").cloned().unwrap_or_default();
    let said = format!("{} version {version} runs for all records from now on", args.name);
    Ok(screen.print_outcome(with_warning(said, &answer), &answer)?)
}

pub async fn roll_back(args: TrialArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let path = format!("/modules/{}/rollback", escape_path(&args.name));
    let answer = client.call_api(Method::POST, &path, CallBody::None).await?;
    let [tried, active] = ["/version", "/active/version"]
        .map(|place| answer.pointer(place).cloned().unwrap_or_default());
    let said = format!(
        "the trial of {} version {tried} is over: version {active} runs all events",
        args.name
    );
    Ok(screen.print_outcome(said, &answer)?)
}

/// Returns the lines of a trial for people.
fn describe_trial(answer: &Value) -> Vec<String> {
    let number = |place: &str| answer.pointer(place).and_then(Value::as_u64).unwrap_or_default();
    let (name, mode, share) =
        (read_text(answer, "module"), read_text(answer, "mode"), number("/share"));
    let things = if mode == "shadow" { "events" } else { "records" };
    let mut lines = vec![format!(
        "{name} version {}: {mode} on {share} % of the {things}, since {}",
        number("/version"),
        read_text(answer, "started_at")
    )];
    if let Some(why) = answer.get("ended_why").and_then(Value::as_str) {
        lines.push(format!("ended {}: {why}", read_text(answer, "ended_at")));
    }
    for (word, arm) in [("active", "/active"), ("on trial", "/tried")] {
        let mean = answer.pointer(&format!("{arm}/mean_us")).and_then(Value::as_u64);
        let mean = mean.map(|micros| format!(", {micros} µs on average")).unwrap_or_default();
        lines.push(format!(
            "  version {} ({word}): {} calls, {} failed{mean}",
            number(&format!("{arm}/version")),
            number(&format!("{arm}/calls")),
            number(&format!("{arm}/failed"))
        ));
    }
    if answer.get("comparison").is_some() {
        let count = |name: &str| number(&format!("/comparison/{name}"));
        lines.push(format!(
            "  {} same, {} changed, {} newly dropped, {} newly failing, {} no longer failing, {} not recorded, {} left out",
            count("same"),
            count("changed"),
            count("newly_dropped"),
            count("newly_failing"),
            count("no_longer_failing"),
            count("not_recorded"),
            count("left_out")
        ));
    }
    for example in read_list(answer, "examples") {
        let kind = read_text(example, "kind").replace('_', " ");
        let (event, flow) = (read_text(example, "event_id"), read_text(example, "flow"));
        lines.push(format!("{event}  flow {flow}: {kind}"));
        let differences = read_list(example, "differences").iter().filter_map(Value::as_str);
        lines.extend(differences.map(|difference| format!("  {difference}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_told_in_a_few_lines() {
        let answer = json!({
            "module": "books", "version": 3, "mode": "shadow", "share": 50, "started_at": "2026-01-01T00:00:00.000Z",
            "active": {"version": 2, "calls": 10, "failed": 0, "mean_us": 40},
            "tried": {"version": 3, "calls": 10, "failed": 1, "mean_us": 55},
            "comparison": {"same": 8, "changed": 1, "newly_failing": 1},
            "examples": [{"event_id": "evt_1", "flow": "f", "kind": "newly_failing", "differences": ["it trapped"]}],
        });
        let report = describe_trial(&answer).join("\n");
        for expected in [
            "books version 3: shadow on 50 % of the events, since 2026",
            "version 2 (active): 10 calls, 0 failed, 40 µs on average",
            "version 3 (on trial): 10 calls, 1 failed, 55 µs on average",
            "8 same, 1 changed, 0 newly dropped, 1 newly failing",
            "evt_1  flow f: newly failing\n  it trapped",
        ] {
            assert!(report.contains(expected), "{expected}\n---\n{report}");
        }
    }
}
