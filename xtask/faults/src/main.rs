//! Plays faults against several nodes under load, and prints one table. `cargo xtask faults` builds
//! everything that this needs, and passes the places; see `--help`.
//!
//! A round has a fresh database and fresh nodes. Clients capture on all nodes, rows are written
//! where a database source and a polled source read them, and one endpoint is changed on two nodes
//! at the same time. Then comes the fault, then the recovery, and in the end what was acknowledged
//! and written is compared with what arrived (`verdict.rs`).

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it reports to people")]

mod changes;
mod database_line;
mod faults;
mod ledger;
mod load;
mod node;
mod round;
mod stage;
mod table;
mod verdict;
mod wall_clock;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::Parser;
use rand::RngExt as _;

use crate::faults::FaultKind;
use crate::stage::DatabaseServers;
use crate::table::FaultRow;

/// Findings of a round that are printed. The others are in its file.
const PRINTED_FINDINGS: usize = 5;

/// The selection of faults, and the places of the programs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask faults", about = "Play faults under load and print one table")]
pub(crate) struct Options {
    /// The program
    #[arg(long)]
    program: PathBuf,
    /// The folder of the compiled guests
    #[arg(long)]
    guests: PathBuf,
    /// A folder for the findings and logs of rounds that are not clean
    #[arg(long)]
    folder: PathBuf,
    /// An older program, with which the nodes of `upgrade` begin
    #[arg(long)]
    old: Option<PathBuf>,
    /// Number of nodes
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Rounds of each fault
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Only faults whose name contains one of these texts
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// List the faults without playing them
    #[arg(long)]
    list: bool,
    /// Shorter faults and less time around them
    #[arg(long)]
    quick: bool,
    /// Events a second that the clients capture
    #[arg(long, default_value_t = 80.0)]
    rate: f64,
    /// The seed of the first round; further rounds count from it
    #[arg(long)]
    seed: Option<u64>,
    /// Print the table as Markdown
    #[arg(long)]
    markdown: bool,
}

/// Plays the chosen faults, then prints the table.
#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let chosen: Vec<FaultKind> =
        FaultKind::ALL.into_iter().filter(|fault| options.wants(*fault)).collect();
    if options.list {
        for fault in &chosen {
            println!("{:<18} {}", fault.name(), fault.about());
        }
        return Ok(());
    }
    ensure!(!chosen.is_empty(), "no fault is named like {}", options.only.join(", "));
    ensure!((2..=9).contains(&options.nodes), "--nodes is 2 to 9");
    ensure!(options.rate >= 1.0, "--rate is at least 1");
    let mut servers = DatabaseServers::start()?;
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::rng().random::<u32>()));
    let mut rows = Vec::new();
    for fault in chosen {
        rows.push(play(&options, &mut servers, fault, seed).await);
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "\n{} nodes, {} events a second, {cores} cores, seed {seed}\n\n{}",
        options.nodes,
        options.rate,
        table::draw(&rows, options.markdown)
    );
    let unclean: Vec<&str> =
        rows.iter().filter(|row| !row.is_clean()).map(|row| row.fault.name()).collect();
    if !unclean.is_empty() {
        bail!("not clean: {}; see {}", unclean.join(", "), options.folder.display());
    }
    Ok(())
}

impl Options {
    fn wants(&self, fault: FaultKind) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| fault.name().contains(text.as_str()))
    }
}

/// Plays all rounds of one fault.
async fn play(
    options: &Options,
    servers: &mut DatabaseServers,
    fault: FaultKind,
    seed: u64,
) -> FaultRow {
    let mut row = FaultRow::new(fault);
    for number in 0..options.rounds {
        let seed = seed.wrapping_add(number);
        let title = format!("{}, round {} of {}", fault.name(), number + 1, options.rounds);
        let played = round::play(options, servers, fault, seed, &title).await;
        show_progress("");
        let round = played.unwrap_or_else(|error| {
            println!("{title}: broken: {error:#}");
            FaultRow { rounds: 1, broken: 1, ..FaultRow::new(fault) }
        });
        report(&title, seed, &round);
        row.add(&round);
    }
    row
}

/// Prints the result of a round.
fn report(title: &str, seed: u64, round: &FaultRow) {
    let FaultRow { verdict, gap, lost_changes, .. } = round;
    println!(
        "{title} (seed {seed}): {}: {} events, lost {}, other id {}, disorder {}, late {}, \
         miscounted {}, lost changes {lost_changes}, gap {} ms, takeover {:.1} s",
        if round.is_clean() { "clean" } else { "NOT CLEAN" },
        verdict.events,
        verdict.lost,
        verdict.other_ids,
        verdict.disorder,
        verdict.late,
        verdict.miscounted,
        gap.as_millis(),
        verdict.longest_wait.as_secs_f64(),
    );
    for finding in verdict.findings.iter().take(PRINTED_FINDINGS) {
        println!("    {finding}");
    }
}

/// Replaces the line of progress on a terminal.
pub(crate) fn show_progress(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[2K{text}");
    }
}
