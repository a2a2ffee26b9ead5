//! Measures the program on this machine and compares it with its targets. `cargo xtask bench`
//! builds and starts everything that this needs, and passes the places; see `--help`.
//!
//! The server is started as a child process on a fresh database for each case. Load generator and
//! receiver run in this process, on the same cores. An event carries its number and its send time
//! (`lg.NUMBER.MICROSECONDS`) through to the receiver, which records first arrivals, duplicates and
//! losses, and verifies every sixteenth signature.
//!
//! A case runs several rounds and the table shows the median of each figure. Compare figures of one
//! session only, because neighbours on a shared machine influence them.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it reports to people")]

mod access;
mod cases;
mod census;
mod load;
mod machine;
mod sink;
mod stage;
mod store;
mod table;
mod template;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Parser;

use crate::stage::Stage;
use crate::table::Measure;

/// The selection of cases, and the places of the programs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", about = "Measure a release build and print one table")]
pub(crate) struct Options {
    /// The program, a release build
    #[arg(long)]
    program: PathBuf,
    /// The folder of the compiled guests
    #[arg(long)]
    guests: PathBuf,
    /// A folder on a real disk, for the SQLite files
    #[arg(long)]
    folder: PathBuf,
    /// A PostgreSQL whose user may create databases
    #[arg(long)]
    postgres: Option<String>,
    /// Its main process, whose CPU time is counted
    #[arg(long)]
    postgres_pid: Option<u32>,
    /// A MariaDB whose user may create databases and users
    #[arg(long)]
    mariadb: Option<String>,
    /// Its process, whose CPU time is counted
    #[arg(long)]
    mariadb_pid: Option<u32>,
    /// Only cases whose name contains one of these texts
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// List the cases without running them
    #[arg(long)]
    list: bool,
    /// One short round of each case, as a check that everything works; its figures are not valid
    #[arg(long)]
    quick: bool,
    /// Rounds of each case; the table shows the median
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Print the table as Markdown
    #[arg(long)]
    markdown: bool,
}

/// Runs the chosen cases, then prints the table.
#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let chosen: Vec<_> = cases::all().into_iter().filter(|case| options.wants(case.name)).collect();
    if options.list {
        for case in &chosen {
            println!("{:<26} {}", case.name, case.about);
        }
        return Ok(());
    }
    if chosen.is_empty() {
        bail!("no case is named like {}; --list names them", options.only.join(", "));
    }
    let stage = Stage::set(&options)?;
    let mut measures: Vec<Measure> = Vec::new();
    for case in &chosen {
        match median(&options, case, &stage).await {
            Ok(found) => measures.extend(found),
            Err(error) => measures.push(Measure::failed(case.name, &error)),
        }
    }
    table::print(&measures, &machine::describe(&stage), options.markdown);
    Ok(())
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| name.contains(wanted.as_str()))
    }

    fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds.max(1) }
    }
}

/// Runs a case as often as requested and takes the median of each figure separately.
async fn median(options: &Options, case: &cases::Case, stage: &Stage) -> Result<Vec<Measure>> {
    let mut rounds = Vec::new();
    for round in 1..=options.rounds() {
        eprintln!("{} ({round} of {}): {}", case.name, options.rounds(), case.about);
        let found = cases::run(case, stage).await?;
        for measure in &found {
            eprintln!("    {measure}");
        }
        rounds.push(found);
    }
    Ok(table::median(&rounds))
}
