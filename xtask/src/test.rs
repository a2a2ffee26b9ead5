//! `test` and `demo`: build everything in the dev profile, then run it.
//!
//! The dev profile compiles dependencies with optimisation, so its binary is fast enough for both,
//! and one set of build products serves all tasks except `bench`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Result;
use tokio::process::Command;
use waybill_servers::Cluster;

use crate::guests::{self, GUESTS};
use crate::needs::{self, LIBRARIES, MARIADB, MODULE_TOOLS, POSTGRES, Skips};
use crate::process::{cargo, command, succeed, target};

/// Names the program under test.
const PROGRAM: &str = "WAYBILL_BIN";

/// Names the number of tests that run at a time.
pub(crate) const THREADS: &str = "RUST_TEST_THREADS";

/// Number of tests that run at a time. They mostly wait for servers and receivers, so it exceeds
/// the number of cores.
const TESTS_AT_A_TIME: &str = "4";

/// The build products of `test` and `demo`: the program and the guests.
#[derive(Debug)]
pub(crate) struct Built {
    program: PathBuf,
    guests: PathBuf,
}

impl Built {
    /// Builds the guests and the program, with the features of a release.
    pub(crate) async fn program_alone() -> Result<Self> {
        Self::make(&["build", "--workspace", "--bin", "waybill"]).await
    }

    /// Builds the guests, the program and the tests.
    ///
    /// One cargo call builds both. Development dependencies turn on features of shared crates, so a
    /// call for the programs alone would build wasmtime, sqlx and 90 other crates a second time: 7
    /// of 15 minutes from nothing on two cores.
    pub(crate) async fn with_tests() -> Result<Self> {
        Self::make(&["build", "--workspace", "--all-targets"]).await
    }

    async fn make(build: &[&str]) -> Result<Self> {
        let guests = guests::build().await?;
        succeed(cargo(build)).await?;
        Ok(Self { program: target().join("debug").join("waybill"), guests })
    }

    /// Returns the program's command, with the folder of the guests in its environment.
    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        let mut program = command(&self.program, arguments);
        program.env(GUESTS, &self.guests);
        program
    }

    /// Returns the program's path.
    pub(crate) fn path(&self) -> &Path {
        &self.program
    }

    /// Returns the folder of the compiled guests.
    pub(crate) fn guests(&self) -> &Path {
        &self.guests
    }
}

/// `cargo xtask test`: passes the arguments on to `cargo test`.
pub(crate) async fn run(arguments: &[String]) -> Result<()> {
    let mut skips = Skips::default();
    let tested = all(arguments, &mut skips).await;
    skips.print();
    tested
}

/// Builds and tests everything. Adds skipped tests to `skips`.
pub(crate) async fn all(arguments: &[String], skips: &mut Skips) -> Result<()> {
    with_environment(arguments, &[], skips).await
}

/// Like [`all`], with further variables in the environment of the tests.
pub(crate) async fn with_environment(
    arguments: &[String],
    environment: &[(&str, &OsStr)],
    skips: &mut Skips,
) -> Result<()> {
    let built = Built::with_tests().await?;
    needs::languages(skips).await;
    needs::promtool(skips).await;
    needs::buildah(skips).await;
    let postgres = needs::postgres(skips, Cluster::start_unsynced).await;
    needs::pooler(skips).await;
    needs::brokers(skips).await;
    let mariadb = needs::mariadb(skips).await;
    let libraries = needs::libraries(skips).await;
    let module_tools = needs::module_tools(skips).await;
    let mut tests = cargo(&["test", "--workspace"]);
    tests.args(arguments).env(PROGRAM, &built.program).env(GUESTS, &built.guests);
    tests.envs(environment.iter().copied());
    let is_set = environment.iter().any(|(name, _)| *name == THREADS);
    if !is_set && std::env::var_os(THREADS).is_none() {
        tests.env(THREADS, TESTS_AT_A_TIME);
    }
    if let Some(postgres) = &postgres {
        tests.env(POSTGRES, &postgres.url);
    }
    if let Some(mariadb) = &mariadb {
        tests.env(MARIADB, &mariadb.url);
    }
    if let Some(libraries) = &libraries {
        tests.env(LIBRARIES, libraries);
    }
    if let Some(tools) = &module_tools {
        tests.env(MODULE_TOOLS, tools);
    }
    succeed(tests).await
}

/// `cargo xtask demo`: passes the arguments on to `waybill demo`.
pub(crate) async fn demo(arguments: &[String]) -> Result<()> {
    let built = Built::program_alone().await?;
    let mut demo = built.program(&["demo"]);
    demo.args(arguments).stdin(Stdio::inherit());
    succeed(demo).await
}
