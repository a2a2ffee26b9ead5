//! The task runner of the workspace: `cargo xtask test | demo | bench | faults | kinds | ci |
//! contract | pages | measure | gen | package`.
//!
//! It only needs rustup's cargo. It installs or starts everything else that a task needs: the
//! `wasm32-wasip2` target, the compiled guests, a throw-away PostgreSQL and MariaDB, the languages
//! and libraries of the tests. It names unavailable parts in its last lines as skipped, and `ci`
//! then fails.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a task runner talks to people")]

mod api_page;
mod bench;
mod ci;
mod configuration_page;
mod contract;
mod events;
mod faults;
mod generated;
mod guests;
mod kinds;
mod measure;
mod needs;
mod objects_page;
mod package;
mod packages;
mod pages;
mod process;
mod server;
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
    /// Measure a release build and print one table; see `bench --help`
    #[command(disable_help_flag = true)]
    Bench(Passed),
    /// Play faults against several nodes under load and print one table; see `faults --help`
    #[command(disable_help_flag = true)]
    Faults(Passed),
    /// Run each kind of endpoint through faults against a real server and print one table
    Kinds(kinds::KindsArgs),
    /// Run every check of a submission: format, lints, documentation, generated files, unused
    /// dependencies, licences and bans, contract, tests
    Ci,
    /// Check a server against its own description, with generated requests
    Contract,
    /// Work through an operator's day on the real pages in a headless Chromium, check every page with
    /// axe-core, and take its pictures
    Pages,
    /// Measure the readability of the code: names, comments, lengths
    Measure,
    /// Write the generated files
    Gen {
        /// Write nothing; fail if a file is out of date
        #[arg(long)]
        check: bool,
    },
    /// Make a package, print its size, and start its program once
    Package(package::PackageArgs),
}

#[derive(Debug, Args)]
struct Passed {
    /// Passed on unchanged
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    // The loser of the race is dropped, together with every process that it started.
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
        Task::Faults(passed) => faults::run(&passed.arguments).await,
        Task::Kinds(arguments) => kinds::run(&arguments).await,
        Task::Ci => ci::run().await,
        Task::Contract => contract::run().await,
        Task::Pages => pages::run().await,
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
