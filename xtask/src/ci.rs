//! `ci`: every check that a submission must pass, with one line and one time for each step.
//!
//! The steps go from cheap to expensive, and each runs even if one before it failed, so that one
//! run reports all faults.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use comfy_table::{Table, presets};
use tokio::process::Command;

use crate::contract;
use crate::generated;
use crate::needs::Skips;
use crate::process::{answers, cargo, command, succeed, target, workspace};
use crate::test::{self, Built};

/// The result of one step.
#[derive(Debug)]
struct Step {
    name: &'static str,
    took: Duration,
    outcome: Result<()>,
}

/// Runs all steps, prints a summary, and fails if a step failed or anything was skipped.
pub(crate) async fn run() -> Result<()> {
    let mut skips = Skips::default();
    let steps = vec![
        step("format", succeed(cargo(&["fmt", "--all", "--check"]))).await,
        step("unused dependencies", machete()).await,
        step("licences and bans", deny()).await,
        step("build and lints", async { Built::with_tests().await.map(drop) }).await,
        step("documentation", succeed(rustdoc())).await,
        step("generated files", generated::check()).await,
        step("contract", contract::run()).await,
        step("tests", async {
            let tested = test::all(&["--no-fail-fast".to_owned()], &mut skips).await;
            tested.and(skips.forbid())
        })
        .await,
    ];
    summarise(&steps);
    skips.print();
    let passed = steps.iter().filter(|step| step.outcome.is_ok()).count();
    let failed = steps.len() - passed;
    println!("steps: {passed} passed, {failed} failed");
    if failed > 0 {
        bail!("{failed} of {} steps failed", steps.len());
    }
    Ok(())
}

async fn step(name: &'static str, work: impl Future<Output = Result<()>>) -> Step {
    println!("==> {name}");
    let began = Instant::now();
    let outcome = work.await;
    let step = Step { name, took: began.elapsed(), outcome };
    match &step.outcome {
        Ok(()) => println!("<== {name}: passed in {:.1} s", step.took.as_secs_f64()),
        Err(error) => println!("<== {name}: FAILED in {:.1} s: {error:#}", step.took.as_secs_f64()),
    }
    step
}

fn summarise(steps: &[Step]) {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(["step", "outcome", "seconds"]);
    for step in steps {
        let outcome = if step.outcome.is_ok() { "passed" } else { "FAILED" };
        table.add_row([step.name, outcome, &format!("{:.1}", step.took.as_secs_f64())]);
    }
    println!("{table}");
}

/// Returns the command that documents every library with `.ci/rustdoc`, which says why.
fn rustdoc() -> Command {
    let mut doc = cargo(&["test", "--workspace", "--doc", "--quiet"]);
    doc.env("RUSTDOC", workspace().join(".ci/rustdoc"));
    doc.env("WAYBILL_DOC_FOLDER", target().join("doc"));
    doc
}

async fn machete() -> Result<()> {
    let machete = tool("cargo-machete").await?;
    succeed(command(machete, &["--with-metadata"])).await
}

async fn deny() -> Result<()> {
    let deny = tool("cargo-deny").await?;
    // The tool reports crates with two versions at length, but that is not a failure.
    let quiet = ["--log-level", "error", "check", "bans", "licenses", "sources"];
    succeed(command(deny, &quiet)).await
}

/// Returns a cargo tool: the installed one, or one that is built once into the target folder.
async fn tool(name: &str) -> Result<PathBuf> {
    if answers(name).await {
        return Ok(name.into());
    }
    let root = target().join("tools");
    let built = root.join("bin").join(name);
    if !answers(&built).await {
        install(name, &root).await?;
    }
    Ok(built)
}

/// Builds without optimisation: the tool runs for a second, and compiles in half the time.
async fn install(name: &str, root: &Path) -> Result<()> {
    let mut install = cargo(&["install", "--locked", "--quiet", "--debug", name, "--root"]);
    install.arg(root).env("CARGO_PROFILE_DEV_DEBUG", "false");
    succeed(install).await
}
