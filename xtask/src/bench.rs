//! `bench`: builds the program, the guests and the load generator as a release, and runs the load
//! generator (`xtask/bench`).

use anyhow::Result;
use waybill_servers::{Cluster, MariaDb};

use crate::guests;
use crate::needs::{self, Skips};
use crate::process::{cargo, command, succeed, target};

/// `cargo xtask bench`: passes the arguments on to the load generator.
pub(crate) async fn run(arguments: &[String]) -> Result<()> {
    if arguments.iter().any(|argument| ["-h", "--help", "--list"].contains(&argument.as_str())) {
        return ask(arguments).await;
    }
    let guests = guests::build().await?;
    succeed(cargo(&["build", "--release", "--workspace", "--bins"])).await?;
    let release = target().join("release");
    let mut bench = command(release.join("waybill-bench"), &[]);
    bench.arg("--program").arg(release.join("waybill"));
    bench.arg("--guests").arg(guests).arg("--folder").arg(target().join("bench"));
    let mut skips = Skips::default();
    let postgres = needs::postgres(&mut skips, Cluster::start).await;
    if let Some(postgres) = &postgres {
        bench.args(["--postgres", &postgres.url]);
        if let Some(pid) = postgres.server.as_ref().and_then(Cluster::pid) {
            bench.args(["--postgres-pid", &pid.to_string()]);
        }
    }
    let mariadb = needs::mariadb(&mut skips).await;
    if let Some(mariadb) = &mariadb {
        bench.args(["--mariadb", &mariadb.url]);
        if let Some(pid) = mariadb.server.as_ref().and_then(MariaDb::pid) {
            bench.args(["--mariadb-pid", &pid.to_string()]);
        }
    }
    bench.args(arguments);
    let measured = succeed(bench).await;
    skips.print();
    measured
}

/// Prints the help of the load generator, without measuring.
async fn ask(arguments: &[String]) -> Result<()> {
    // With the features of the whole workspace, like all other builds here.
    succeed(cargo(&["build", "--quiet", "--workspace", "--bins"])).await?;
    let mut bench = command(target().join("debug").join("waybill-bench"), &[]);
    bench.args(["--program", "", "--guests", "", "--folder", ""]).args(arguments);
    succeed(bench).await
}
