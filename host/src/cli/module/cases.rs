//! `waybill module test`: runs the tests of a project, the cases of a folder, or the sample cases
//! of a version on the server.

use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::golden::GoldenRun;
use super::project::ProjectLanguage;
use super::toolchain;
use crate::cli::client::{CallBody, RemoteServer, escape_path};
use crate::cli::{CliError, CommandScreen};
use crate::model::case_report::CasesReport;

/// Arguments of `waybill module test`.
#[derive(Debug, Args)]
pub struct TestModuleArgs {
    /// Name of a module in the server. Without it, the tests of the project run here. With
    /// `--cases`: a component to run instead of the project's.
    #[arg(value_name = "NAME|FILE")]
    name: Option<String>,
    /// Directory of the project.
    #[arg(long, value_name = "PATH", default_value = ".", conflicts_with = "name")]
    path: PathBuf,
    /// Run the component here on the cases of this folder, and compare what it does with what they
    /// expect.
    #[arg(long, value_name = "DIR", conflicts_with = "version")]
    cases: Option<PathBuf>,
    /// Write what the component does into the cases, as the expected results.
    #[arg(long, requires = "cases")]
    update: bool,
    /// Version number. Default: the active version, or the newest if none is active.
    #[arg(long, value_name = "N", requires = "name")]
    version: Option<u32>,
    #[command(flatten)]
    remote: RemoteServer,
}

pub async fn test_module(
    args: TestModuleArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    if let Some(cases) = &args.cases {
        screen.force_json(args.remote.json);
        let component = args.name.as_deref().map(Path::new);
        let run = GoldenRun { component, project: &args.path, cases, update: args.update };
        return run.run_cases(screen).await;
    }
    let Some(name) = args.name else { return test_project(&args.path).await };
    let client = args.remote.connect(screen)?;
    let path = format!("/modules/{}/test", escape_path(&name));
    let body = CallBody::Json(json!({ "version": args.version }));
    let answer = client.call_api(Method::POST, &path, body).await?;
    let version = answer.get("version").and_then(Value::as_u64).unwrap_or_default();
    let report: CasesReport = serde_json::from_value(answer.clone()).map_err(|error| {
        CliError::failed(format!("the server's answer cannot be read: {error}"))
    })?;
    let told = tell_report(&name, version, &report);
    screen.print_outcome(told, &answer)?;
    if report.is_passed() {
        return Ok(());
    }
    Err(CliError::failed(format!("{} of the sample cases failed", report.failed)))
}

/// Runs the native tests of a project with the tool of its language, whose output the user sees.
async fn test_project(project: &Path) -> Result<(), CliError> {
    match ProjectLanguage::find(project)? {
        ProjectLanguage::Rust => {
            toolchain::run_tool("cargo", &["test".as_ref()], project, "a test fails").await
        }
        ProjectLanguage::TypeScript => toolchain::test_typescript(project).await,
        ProjectLanguage::Python => toolchain::test_python(project).await,
    }
}

fn tell_report(name: &str, version: u64, report: &CasesReport) -> String {
    if report.passed + report.failed == 0 {
        return format!(
            "{name} version {version} has no sample cases; add [[cases]] to its manifest"
        );
    }
    let (passed, failed) = (report.passed, report.failed);
    let failures = report.failures.iter().map(|case| format!("\n  {}: {}", case.name, case.tell()));
    let failures: String = failures.collect();
    format!("{name} version {version}: {passed} passed, {failed} failed{failures}")
}
