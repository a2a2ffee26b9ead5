//! One round: preparation, load, fault, recovery, verdict.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tokio::time::sleep;

use crate::changes::change_in_pairs;
use crate::faults::{FaultKind, FaultSpan};
use crate::ledger::{CallFailure, Ledger};
use crate::load::{Load, LoadPlan};
use crate::node::choose;
use crate::stage::{DatabaseServers, Stage};
use crate::table::FaultRow;
use crate::verdict::{Arrived, Verdict, judge, longest_gap};
use crate::{Options, show_progress};

/// Time after the end of a fault in which missing events may still arrive. They are late then, and
/// after it they are lost.
const LAST_ARRIVALS: Duration = Duration::from_secs(150);

/// Pause between two comparisons.
const PACE: Duration = Duration::from_millis(500);

/// Pause between two pairs of changes beside a fault.
const CHANGE_EVERY: Duration = Duration::from_millis(500);

/// Lost events whose trace is written to the file.
const TRACES: usize = 3;

/// Plays one round and returns it as a row.
pub(crate) async fn play(
    options: &Options,
    servers: &mut DatabaseServers,
    fault: FaultKind,
    seed: u64,
    title: &str,
) -> Result<FaultRow> {
    show_progress(&format!("{title}: starting"));
    servers.repair()?;
    let mut random = StdRng::seed_from_u64(seed);
    let mut stage = Stage::set(options, servers, fault).await?;
    let ledger = Arc::new(Ledger::default());
    let played = strike(options, servers, fault, (&mut stage, &mut random), &ledger, title).await;
    let span = match played {
        Ok(span) => span,
        Err(error) => {
            write_logs(options, &stage, fault, seed, &[format!("{error:#}")])?;
            return Err(error);
        }
    };
    show_progress(&format!("{title}: waiting for the last deliveries"));
    let verdict = settle(&stage, &ledger, span).await;
    let mut row =
        FaultRow { rounds: 1, verdict, gap: longest_gap(&ledger), ..FaultRow::new(fault) };
    row.lost_changes = ledger.lost_changes().len();
    row.faults = ledger.faults().len();
    let cut = [CallFailure::Cut, CallFailure::Silent].map(|kind| ledger.count_failures(kind));
    row.cut = row.cut.map(|_| cut.into_iter().sum());
    row.verdict.findings.extend(ledger.lost_changes());
    row.verdict.findings.extend(ledger.faults());
    if !row.is_clean() {
        let traces = traces(&stage, &row.verdict).await;
        let lines = [row.verdict.findings.clone(), traces].concat();
        write_logs(options, &stage, fault, seed, &lines)?;
    }
    Ok(row)
}

/// Starts the load, lets the fault happen in the middle of it, and stops the load.
async fn strike(
    options: &Options,
    servers: &mut DatabaseServers,
    fault: FaultKind,
    (stage, random): (&mut Stage, &mut StdRng),
    ledger: &Arc<Ledger>,
    title: &str,
) -> Result<FaultSpan> {
    let seed = random.random();
    let load = Load::start(
        LoadPlan {
            nodes: Arc::clone(&stage.nodes),
            table: Arc::clone(&stage.table),
            site: Arc::clone(&stage.site),
            rate: options.rate,
            seed,
        },
        ledger,
    );
    let stop = Arc::new(AtomicBool::new(fault == FaultKind::Changes));
    let (nodes, ledger_of_changes) = (Arc::clone(&stage.nodes), Arc::clone(ledger));
    let changes = change_in_pairs(
        nodes,
        ledger_of_changes,
        Arc::clone(&stop),
        u64::from(u16::MAX),
        CHANGE_EVERY,
    );
    let changes = tokio::spawn(changes);
    let around = Duration::from_secs(if options.quick { 1 } else { 3 });
    show_progress(&format!("{title}: load"));
    // The fault comes at a random moment, so nothing is waited for.
    sleep(around + Duration::from_millis(random.random_range(0..1_000))).await;
    show_progress(&format!("{title}: fault"));
    let span = fault.strike(stage, servers, options, random, ledger).await;
    show_progress(&format!("{title}: recovery"));
    sleep(around).await;
    stop.store(true, Relaxed);
    load.stop().await;
    changes.await?;
    span
}

/// Waits until nothing is missing and no delivery is open, and judges the round.
async fn settle(stage: &Stage, ledger: &Ledger, span: FaultSpan) -> Verdict {
    let began = Instant::now();
    loop {
        let verdict = judge(ledger, &Arrived::read(&stage.receiver), span);
        let is_settled = verdict.is_complete() && !has_open_deliveries(stage).await;
        if is_settled || began.elapsed() > LAST_ARRIVALS {
            break;
        }
        sleep(PACE).await;
    }
    judge(ledger, &Arrived::read(&stage.receiver), span)
}

/// Returns whether a delivery may still be sent, as far as that is known.
async fn has_open_deliveries(stage: &Stage) -> bool {
    let Some(node) = choose(&stage.nodes, 0) else { return true };
    for status in ["pending", "leased"] {
        let path = format!("/api/v1/deliveries?limit=1&status={status}");
        if !node.get(&path).await.is_ok_and(|found| found == json!([])) {
            return true;
        }
    }
    false
}

/// Returns the traces of the first lost events.
async fn traces(stage: &Stage, verdict: &Verdict) -> Vec<String> {
    let mut traces = Vec::new();
    let lost = verdict.findings.iter().filter(|finding| finding.starts_with("lost"));
    let ids = lost.filter_map(|finding| finding.split_once('(')?.1.split_once(')'));
    for (id, _) in ids.take(TRACES) {
        let Some(node) = choose(&stage.nodes, 0) else { break };
        let trace = node.get(&format!("/api/v1/events/{id}")).await;
        traces.push(trace.map_or_else(|error| format!("{error:#}"), |trace| format!("{trace:#}")));
    }
    traces
}

/// Writes the findings of a round and the logs of its nodes.
fn write_logs(
    options: &Options,
    stage: &Stage,
    fault: FaultKind,
    seed: u64,
    findings: &[String],
) -> Result<()> {
    std::fs::create_dir_all(&options.folder)?;
    let file =
        |what: &str| -> PathBuf { options.folder.join(format!("{}-{seed}-{what}", fault.name())) };
    std::fs::write(file("findings.txt"), findings.join("\n"))?;
    for node in stage.nodes.iter() {
        std::fs::write(file(&format!("node-{}.log", node.number)), node.output())?;
    }
    Ok(())
}
