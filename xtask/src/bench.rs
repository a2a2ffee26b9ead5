//! `bench`: what the program does on this machine, beside the targets that it is held to.
//!
//! The server is a release build, started as a child process on a fresh database for each case.
//! Load generator and receiver run in this process, on the same cores. An event carries its
//! number and its send time (`lg.NUMBER.MICROSECONDS`) through to the receiver, which books first
//! arrivals, duplicates and losses, and verifies every sixteenth signature.
//!
//! A case runs several rounds and the table shows the median of each figure; compare figures of
//! one session only, since neighbours on a shared machine move them.

mod cases;
mod census;
mod load;
mod machine;
mod sink;
mod stage;
mod table;
mod template;

use anyhow::{Result, bail};
use clap::Args;

use self::stage::Stage;
use self::table::Measure;
use crate::needs::Skips;

/// What `cargo xtask bench` is told.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only cases whose name contains one of these texts
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Name the cases and run none
    #[arg(long)]
    list: bool,
    /// One short round of each case: to see that all works, not to quote
    #[arg(long)]
    quick: bool,
    /// Rounds of each case; the table shows the median
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measure this program instead of building one
    #[arg(long)]
    binary: Option<std::path::PathBuf>,
    /// Print the table as Markdown
    #[arg(long)]
    markdown: bool,
}

/// Runs the chosen cases, then prints the table.
pub(crate) async fn run(options: Options) -> Result<()> {
    let chosen: Vec<_> = cases::all().into_iter().filter(|case| options.wants(case.name)).collect();
    if options.list {
        for case in &chosen {
            println!("{:<24} {}", case.name, case.about);
        }
        return Ok(());
    }
    if chosen.is_empty() {
        bail!("no case is named like {}; --list names them", options.only.join(", "));
    }
    let mut skips = Skips::default();
    let stage = Stage::set(&options, &mut skips).await?;
    let mut measures: Vec<Measure> = Vec::new();
    for case in &chosen {
        match median(&options, case, &stage).await {
            Ok(found) => measures.extend(found),
            Err(error) => measures.push(Measure::failed(case.name, &error)),
        }
    }
    table::print(&measures, &machine::describe(&stage), options.markdown);
    skips.print();
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

/// Runs a case as often as asked and takes the median of each figure by itself.
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
