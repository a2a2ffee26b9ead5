//! `/modules/{name}/test`: runs the sample cases of a version, and refuses the activation if they
//! fail.

use super::find_version;
use crate::api::AppState;
use crate::api::answer::{DataAnswer, data_answer};
use crate::api::auth::CallPrincipal;
use crate::api::body::JsonInput;
use crate::api::problem::ApiProblem;
use crate::model::case_report::{CasesReport, FailedCase};
use crate::model::fault::InputFault;
use crate::store::modules::ModuleVersion;
use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The version to test.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModuleTestRequest {
    /// Version number. Default: the active version, or the newest if none is active.
    #[serde(default)]
    pub version: Option<u32>,
}

/// The result of the sample cases.
#[derive(Debug, Serialize, ToSchema)]
pub struct TestAnswer {
    /// Number of the version that ran.
    pub version: u32,
    /// Result of its cases. All zero if its manifest has no cases.
    #[serde(flatten)]
    pub report: CasesReport,
}

/// Marks the answer to a forced call. The audit shows this after the route.
#[derive(Debug, Clone, Copy)]
pub struct ForcedNote;

/// Runs the sample cases of a version's manifest, and stores the result. A version that passes can
/// then be activated.
#[utoipa::path(post, path = "/api/v1/modules/{name}/test", tag = "modules", operation_id = "test_module",
    params(("name" = String, Path)), request_body = ModuleTestRequest,
    responses((status = 200, body = DataAnswer<TestAnswer>), (status = 404, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn test_module(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(name): Path<String>,
    JsonInput(request): JsonInput<ModuleTestRequest>,
) -> Result<Json<DataAnswer<TestAnswer>>, ApiProblem> {
    let found = find_version(&app, &name, request.version).await?;
    let report = run_cases(&app, &found).await?.unwrap_or_default();
    Ok(data_answer(TestAnswer { version: found.version, report }))
}

/// Runs the cases of a stored version, and stores the result. Returns `None` if it has no cases.
async fn run_cases(
    app: &AppState,
    found: &ModuleVersion,
) -> Result<Option<CasesReport>, ApiProblem> {
    let module = app.live.load(found.sha256).await.map_err(|why| {
        tracing::error!(module = found.name, %why, "a stored module does not load");
        ApiProblem::internal()
    })?;
    let report = module.run_cases(app.journal.clock().now()).await;
    if let Some(report) = &report {
        app.journal.note_cases(&found.name, found.version, report).await?;
    }
    Ok(report)
}

/// Refuses to activate a version whose cases failed, unless that is forced. Runs the cases of a
/// version that an earlier server stored.
pub async fn check_activation(
    app: &AppState,
    found: &ModuleVersion,
    is_forced: bool,
) -> Result<(), ApiProblem> {
    if is_forced {
        return Ok(());
    }
    match &found.cases {
        Some(report) if report.has_verdict() => check_report(found, report),
        // A version without cases is not loaded here: its events wait if it cannot be loaded.
        None if !found.has_cases() => Ok(()),
        Some(_) | None => {
            run_cases(app, found).await?.map_or(Ok(()), |report| check_report(found, &report))
        }
    }
}

/// Refuses a version whose cases failed, or have not been run yet.
pub fn check_stored(found: &ModuleVersion) -> Result<(), ApiProblem> {
    match &found.cases {
        Some(report) => check_report(found, report),
        None if !found.has_cases() => Ok(()),
        None => Err(ApiProblem::conflict(format!(
            "the sample cases of module `{0}` version {1} have not been run on this server: run `waybill module test \
             {0} --version {1}`, then apply again",
            found.name, found.version
        ))),
    }
}

/// Refuses a version whose cases failed.
pub fn check_report(found: &ModuleVersion, report: &CasesReport) -> Result<(), ApiProblem> {
    if report.is_passed() { Ok(()) } else { Err(cases_failed(found, report)) }
}

fn cases_failed(found: &ModuleVersion, report: &CasesReport) -> ApiProblem {
    let detail = format!(
        "version {} of module `{}` does not do what its sample cases expect: {}. Correct it and upload it again, or \
         activate it all the same with `\"force\": true` (on the command line `--force`)",
        found.version,
        found.name,
        report.tell_failure().unwrap_or_default()
    );
    let fault = |case: &FailedCase| {
        InputFault::new(format!("cases[{}]{}", case.name, case.at), case.tell())
    };
    ApiProblem::cases_failed(detail, report.failures.iter().map(fault).collect())
}

/// Returns the warning in the answer to an upload whose cases failed.
pub fn tell_failed_cases(report: Option<&CasesReport>) -> Option<String> {
    let told = report?.tell_failure()?;
    Some(format!("this version is stored and not activated, because its sample cases fail: {told}"))
}
