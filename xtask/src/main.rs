//! The task runner of the workspace: `cargo xtask test | demo | bench | ci | contract | measure |
//! gen | package`.
//!
//! It needs nothing but rustup's cargo. What else a task needs it brings or starts itself: the
//! `wasm32-wasip2` target, the compiled guests, a throw-away PostgreSQL and MariaDB, the languages
//! and libraries of the tests. What it cannot have it names in its last lines as skipped, and `ci`
//! fails on it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a task runner talks to people")]

mod api_page;
mod bench;
mod ci;
mod configuration_page;
mod contract;
mod events;
mod generated;
mod guests;
mod measure;
mod needs;
mod objects_page;
mod package;
mod packages;
mod process;
mod test;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The task runner of the workspace", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build everything and run every test
    #[command(disable_help_flag = true)]
    Test(Passed),
    /// Build everything and run `waybill demo`
    #[command(disable_help_flag = true)]
    Demo(Passed),
    /// Measure a release build and print one table; `bench --help` tells more
    #[command(disable_help_flag = true)]
    Bench(Passed),
    /// All that a submission must pass: format, lints, documentation, generated files, unused
    /// dependencies, licences and bans, contract, tests
    Ci,
    /// Hold a server against its own description, with requests made up from it
    Contract,
    /// Count how the code reads: names, comments, lengths
    Measure,
    /// Write the generated files
    Gen {
        /// Write nothing; fail where a file is not current
        #[arg(long)]
        check: bool,
    },
    /// Make a package, print its size, and start what is in it once
    Package(package::PackageArgs),
}

#[derive(Debug, Args)]
struct Passed {
    /// Passed on as they stand
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    // The loser of the race is dropped, and with it every process that it started.
    tokio::select! {
        done = run(cli.task) => done,
        signal = interrupted() => bail!("interrupted by {}", signal?),
    }
}

async fn run(task: Task) -> Result<()> {
    match task {
        Task::Test(passed) => test::run(&passed.arguments).await,
        Task::Demo(passed) => test::demo(&passed.arguments).await,
        Task::Bench(passed) => bench::run(&passed.arguments).await,
        Task::Ci => ci::run().await,
        Task::Contract => contract::run().await,
        Task::Measure => measure::run().await,
        Task::Gen { check: true } => generated::check().await,
        Task::Gen { check: false } => generated::write().await,
        Task::Package(args) => package::run(&args).await,
    }
}

async fn interrupted() -> Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => { pressed?; Ok("ctrl-c") }
        _ = terminate.recv() => Ok("SIGTERM"),
    }
}
