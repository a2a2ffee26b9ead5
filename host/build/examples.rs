//! The compiled example modules, for `waybill demo`: listed for embedding where a build has made them.
//!
//! `cargo xtask` compiles them before the program, into the folder that `EXAMPLES` stands for here. A plain `cargo build`
//! does not, and needs no WebAssembly target; its demo then runs without modules, or with those of `--modules`.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Names a folder of compiled examples. They must all be there.
pub(crate) const VARIABLE: &str = "WAYBILL_EMBED_MODULES";

/// Where the task runner compiles them to, below the target folder.
const EXAMPLES: &str = "wasm32-wasip2/guest";

/// The files that the demo runs.
const FILES: [&str; 4] = [
    "invoice_to_ledger.wasm",
    "lead_to_slack.wasm",
    "payment_to_budget.wasm",
    "proposal_to_task.wasm",
];

/// Returns the Rust expression for the embedded examples: pairs of file name and bytes. The list is
/// empty if no compiled examples are found.
pub(crate) fn embedded(named: Option<PathBuf>, out: &Path) -> io::Result<String> {
    let is_complete = |folder: &PathBuf| FILES.iter().all(|file| folder.join(file).is_file());
    let folder = match named {
        Some(folder) if is_complete(&folder) => Some(folder),
        Some(folder) => {
            let message =
                format!("{VARIABLE}={} does not hold {}", folder.display(), FILES.join(", "));
            return Err(io::Error::other(message));
        }
        None => out.ancestors().map(|target| target.join(EXAMPLES)).find(is_complete),
    };
    let mut text = String::from("&[\n");
    for file in folder.iter().flat_map(|folder| FILES.map(|file| folder.join(file))) {
        let file = file.canonicalize()?;
        writeln!(io::stdout(), "cargo::rerun-if-changed={}", file.display())?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Writing to a String does not fail.
        let _ = writeln!(text, "({name:?}, include_bytes!({:?})),", file.display().to_string());
    }
    text.push_str("]\n");
    Ok(text)
}
