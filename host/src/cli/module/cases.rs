//! `waybill module test`: runs the sample cases of a version on the server.

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::cli::client::{CallBody, RemoteServer, escape_path};
use crate::cli::{CliError, CommandScreen};
use crate::model::case_report::CasesReport;

/// Arguments of `waybill module test`.
#[derive(Debug, Args)]
pub struct TestModuleArgs {
    /// The module's name.
    name: String,
    /// Version number. Default: the active version, or the newest if none is active.
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    #[command(flatten)]
    remote: RemoteServer,
}

pub async fn test_module(
    args: TestModuleArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let path = format!("/modules/{}/test", escape_path(&args.name));
    let body = CallBody::Json(json!({ "version": args.version }));
    let answer = client.call_api(Method::POST, &path, body).await?;
    let version = answer.get("version").and_then(Value::as_u64).unwrap_or_default();
    let report: CasesReport = serde_json::from_value(answer.clone()).map_err(|error| {
        CliError::failed(format!("the server's answer cannot be read: {error}"))
    })?;
    let told = tell_report(&args.name, version, &report);
    screen.print_outcome(told, &answer)?;
    if report.is_passed() {
        return Ok(());
    }
    Err(CliError::failed(format!("{} of the sample cases failed", report.failed)))
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
