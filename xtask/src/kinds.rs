//! `kinds`: runs each kind of endpoint through one fault after the other against a real server, and
//! prints one table (`tests/suite/kinds.rs`).

use std::collections::BTreeMap;
use std::ffi::OsStr;

use anyhow::{Context as _, Result};
use clap::Args;
use comfy_table::{Table, presets};

use crate::needs::Skips;
use crate::process::target;
use crate::test::{THREADS, with_environment};

/// The columns, as the tests name them.
const COLUMNS: [&str; 9] =
    ["kind", "delivered", "refuses", "down", "slow", "restarted", "killed", "events/s", "µs"];

#[derive(Debug, Args)]
pub(crate) struct KindsArgs {
    /// The number of deliveries at full speed
    #[arg(long, default_value_t = 10_000)]
    deliveries: u32,
    /// The rows to run, such as `Kafka` or `MariaDb`; all if none is named
    kinds: Vec<String>,
}

/// Runs the tests one after the other and prints what they found.
pub(crate) async fn run(arguments: &KindsArgs) -> Result<()> {
    let rows = target().join("kinds.jsonl");
    drop(std::fs::remove_file(&rows));
    let deliveries = arguments.deliveries.to_string();
    let environment = [
        ("WAYBILL_KINDS_DELIVERIES", OsStr::new(&deliveries)),
        ("WAYBILL_KINDS_TABLE", rows.as_os_str()),
        (THREADS, OsStr::new("1")),
    ];
    let mut filters: Vec<String> =
        ["--test", "suite", "--no-fail-fast", "--"].map(str::to_owned).into();
    if arguments.kinds.is_empty() {
        filters.push("kinds::".to_owned());
    }
    filters.extend(arguments.kinds.iter().map(|kind| format!("TargetKind__{kind}")));
    let mut skips = Skips::default();
    let tested = with_environment(&filters, &environment, &mut skips).await;
    println!("{}", make_table(&std::fs::read_to_string(&rows).unwrap_or_default())?);
    skips.print();
    tested
}

/// Makes a table of rows, one JSON object on each line.
fn make_table(rows: &str) -> Result<Table> {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(COLUMNS);
    for line in rows.lines() {
        let row: BTreeMap<String, String> =
            serde_json::from_str(line).with_context(|| format!("a row of the table: {line}"))?;
        table.add_row(COLUMNS.map(|column| row.get(column).map_or("–", String::as_str)));
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::make_table;

    #[test]
    fn what_a_kind_has_not_is_a_dash() {
        let table = make_table(r#"{"kind": "file", "killed": "lost 0"}"#).unwrap().to_string();
        let row = table.lines().last().unwrap();
        assert!(
            row.contains("| file |") && row.contains("| lost 0 |") && row.contains("| –"),
            "{row}"
        );
    }
}
