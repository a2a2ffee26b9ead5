//! `faults`: builds the program and the guests, and plays faults against several nodes
//! (`xtask/faults`).

use anyhow::Result;

use crate::needs;
use crate::process::{command, succeed, target};
use crate::test::Built;

/// `cargo xtask faults`: passes the arguments on.
pub(crate) async fn run(arguments: &[String]) -> Result<()> {
    let built = Built::with_tests().await?;
    needs::postgres_programs().await;
    let mut faults = command(target().join("debug").join("waybill-faults"), &[]);
    faults.arg("--program").arg(built.path()).arg("--guests").arg(built.guests());
    faults.arg("--folder").arg(target().join("faults")).args(arguments);
    succeed(faults).await
}
