//! Trials of a version on live events: begins a shadow or a canary, promotes it, rolls it back, and
//! shows its results.

use super::activation::{ApprovalRequest, WantedVersion, activate_module};
use super::cases::{ForcedNote, check_activation};
use super::trial_view::TrialView;
use super::{ModuleView, exported_roles, find_version, lost_roles, versions};
use crate::access::scope::Scope;
use crate::api::answer::{DataAnswer, data_answer};
use crate::api::auth::CallPrincipal;
use crate::api::body::JsonInput;
use crate::api::events::id;
use crate::api::problem::ApiProblem;
use crate::api::{AppState, edit};
use crate::model::module_trial::{CanaryLimits, ModuleTrial, TrialEnd, TrialMode};
use crate::settings::module_trials::end_trial;
use crate::store::modules::ModuleVersion;
use crate::store::objects::ObjectChange;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::ToSchema;

/// Share of the records of a canary, in percent, if the request names none.
pub const USUAL_SHARE: u32 = 10;
/// Largest number of calls after which a canary is judged first.
const MOST_MIN_CALLS: u32 = 100_000;

/// How a version shadows the active one.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShadowRequest {
    /// Share of the events, in percent, 1 to 100. Default: 100.
    #[serde(default)]
    pub share: Option<u32>,
    /// Approved capabilities that the version requests, as for an activation.
    #[serde(default)]
    pub approve: Vec<String>,
    /// Whether to run it even if its sample cases fail.
    #[serde(default)]
    pub force: bool,
}

/// How a version takes a share of the records.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryRequest {
    /// Share of the records, in percent, 1 to 100. Default: that of the running canary of the same
    /// version, or 10.
    #[serde(default)]
    pub share: Option<u32>,
    /// Highest share of failed calls, in percent, 0 to 100. A canary that exceeds it, and fails
    /// more often than the active version, is rolled back. Default: 5.
    #[serde(default)]
    pub max_failure_rate: Option<u32>,
    /// Number of calls from which failures are judged, 1 to 100,000. Default: 50.
    #[serde(default)]
    pub min_calls: Option<u32>,
    /// Approved capabilities that the version requests, as for an activation.
    #[serde(default)]
    pub approve: Vec<String>,
    /// Whether to run it even if its sample cases fail.
    #[serde(default)]
    pub force: bool,
}

/// A trial that is to begin, or to change.
struct WantedTrial {
    mode: TrialMode,
    share: Option<u32>,
    max_failure_rate: Option<u32>,
    min_calls: Option<u32>,
    approve: Vec<String>,
    force: bool,
}

impl WantedTrial {
    fn check(&self) -> Result<(), ApiProblem> {
        let bounds = [
            ("share", self.share, 1, 100),
            ("max_failure_rate", self.max_failure_rate, 0, 100),
            ("min_calls", self.min_calls, 1, MOST_MIN_CALLS),
        ];
        for (name, given, least, most) in bounds {
            if given.is_some_and(|given| !(least..=most).contains(&given)) {
                return Err(ApiProblem::fault(name, format!("a number from {least} to {most}")));
            }
        }
        Ok(())
    }

    /// Returns the trial to store. A running one of the same version and mode goes on with its
    /// counts.
    fn build(&self, app: &AppState, found: &ModuleVersion) -> ModuleTrial {
        let before = found.running_trial().filter(|trial| trial.mode == self.mode);
        let limits = before.map(|trial| trial.limits).unwrap_or_default();
        let usual = match self.mode {
            TrialMode::Shadow => 100,
            TrialMode::Canary => USUAL_SHARE,
        };
        ModuleTrial {
            mode: self.mode,
            run: before.map_or_else(|| app.journal.clock().now().micros(), |trial| trial.run),
            share: self.share.or(before.map(|trial| trial.share)).unwrap_or(usual),
            limits: CanaryLimits {
                max_failure_rate: self.max_failure_rate.unwrap_or(limits.max_failure_rate),
                min_calls: self.min_calls.unwrap_or(limits.min_calls),
            },
            ended: None,
        }
    }
}

/// Runs a version as a shadow: after each live event, the event is run without effect with the
/// active version and with this one, and the results are compared. Nothing is sent or stored, and
/// requests get only recorded answers. Ends another trial of the module. The conditions are those
/// of an activation.
#[utoipa::path(post, path = "/api/v1/modules/{name}/versions/{version}/shadow", tag = "modules", operation_id = "shadow_module",
    params(("name" = String, Path), ("version" = u32, Path)), request_body = ShadowRequest,
    responses((status = 200, body = DataAnswer<TrialView>), (status = 404, body = ApiProblem),
        (status = 409, body = ApiProblem, description = "The version is active, no version is, it asks for something that is not approved, or its sample cases fail."),
        (status = 422, body = ApiProblem)))]
pub async fn shadow_module(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path((name, number)): Path<(String, String)>,
    JsonInput(request): JsonInput<ShadowRequest>,
) -> Result<(Option<Extension<ForcedNote>>, Json<DataAnswer<TrialView>>), ApiProblem> {
    let ShadowRequest { share, approve, force } = request;
    let (max_failure_rate, min_calls) = (None, None);
    let mode = TrialMode::Shadow;
    let wanted = WantedTrial { mode, share, max_failure_rate, min_calls, approve, force };
    begin_trial(&app, &principal, (name, number), wanted).await
}

/// Runs a version as a canary: it runs instead of the active version for a share of the records.
/// One record always gets the same version. Also changes the share or the limits of a running
/// canary. Ends another trial of the module. The conditions are those of an activation.
#[utoipa::path(post, path = "/api/v1/modules/{name}/versions/{version}/canary", tag = "modules", operation_id = "canary_module",
    params(("name" = String, Path), ("version" = u32, Path)), request_body = CanaryRequest,
    responses((status = 200, body = DataAnswer<TrialView>), (status = 404, body = ApiProblem),
        (status = 409, body = ApiProblem, description = "The version is active, no version is, it asks for something that is not approved, or its sample cases fail."),
        (status = 422, body = ApiProblem)))]
pub async fn canary_module(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path((name, number)): Path<(String, String)>,
    JsonInput(request): JsonInput<CanaryRequest>,
) -> Result<(Option<Extension<ForcedNote>>, Json<DataAnswer<TrialView>>), ApiProblem> {
    let CanaryRequest { share, max_failure_rate, min_calls, approve, force } = request;
    let mode = TrialMode::Canary;
    let wanted = WantedTrial { mode, share, max_failure_rate, min_calls, approve, force };
    begin_trial(&app, &principal, (name, number), wanted).await
}

async fn begin_trial(
    app: &AppState,
    principal: &CallPrincipal,
    (name, number): (String, String),
    wanted: WantedTrial,
) -> Result<(Option<Extension<ForcedNote>>, Json<DataAnswer<TrialView>>), ApiProblem> {
    wanted.check()?;
    let number = id("version", &number)?;
    let found = find_version(app, &name, Some(number)).await?;
    // Before taking the turn, because cases may run for seconds.
    check_activation(app, &found, wanted.force).await?;
    let turn = app.live.take_edit_turn().await?;
    // Read again within the turn: the active version and the one on trial must differ.
    let all = versions(app, &name).await?;
    let active = find_active(&all, &name)?;
    let found = find_version(app, &name, Some(number)).await?;
    if found.version == active.version {
        let detail = format!("version {number} of module `{name}` is active; try another version");
        return Err(ApiProblem::conflict(detail));
    }
    let (manifest, roles) = (found.manifest(), exported_roles(&found));
    let version = WantedVersion::new(&found, manifest.as_ref(), &roles);
    let approved = version.approve(app, Some(active), &wanted.approve)?;
    version.check_users(&app.live.current_settings())?;
    let trial = wanted.build(app, &found);
    let changes = [
        ObjectChange::ApproveModule { name: name.clone(), version: found.version, approved },
        ObjectChange::SetTrial { name: name.clone(), version: found.version, trial },
    ];
    edit::commit_changes(app, &changes).await?;
    drop(turn);
    let warning = lost_roles(active, &found);
    let forced = wanted.force.then_some(Extension(ForcedNote));
    let view = load_view(app, principal, &name).await?;
    Ok((forced, data_answer(TrialView { warning, ..view })))
}

fn find_active<'v>(all: &'v [ModuleVersion], name: &str) -> Result<&'v ModuleVersion, ApiProblem> {
    all.iter().find(|version| version.active).ok_or_else(|| {
        let detail = format!("module `{name}` has no active version to compare with; activate one");
        ApiProblem::conflict(detail)
    })
}

/// Returns the running trial of a module.
async fn find_running(
    app: &AppState,
    name: &str,
) -> Result<(ModuleVersion, ModuleTrial), ApiProblem> {
    let all = versions(app, name).await?;
    let running = |version: ModuleVersion| {
        let trial = version.running_trial().cloned()?;
        Some((version, trial))
    };
    all.into_iter().find_map(running).ok_or_else(|| {
        let detail = format!("no version of module `{name}` is on trial");
        ApiProblem::conflict(detail)
    })
}

/// Returns the trial of a module, running or ended, with its results.
async fn load_view(
    app: &AppState,
    principal: &CallPrincipal,
    name: &str,
) -> Result<TrialView, ApiProblem> {
    let all = versions(app, name).await?;
    let tried = all.iter().find_map(|version| Some((version, version.trial.as_ref()?)));
    let (version, trial) = tried.ok_or_else(|| {
        ApiProblem::not_found(format!("no version of module `{name}` is on trial"))
    })?;
    let active = all.iter().find(|version| version.active).map(|version| version.version);
    let snapshot = app.live.current_settings();
    let known = snapshot.trials().iter().find(|known| known.trial.run == trial.run);
    let tally = known.map(|known| &*known.tally);
    let _moving = match tally {
        Some(tally) => Some(tally.moving.lock().await),
        None => None,
    };
    let stored = app.journal.read_trial_counts(name, trial.run).await?;
    let may_quote = principal.scopes().allows_scope(Scope::EventsRead);
    let view = TrialView::new(version, trial, active, stored, tally);
    let view = TrialView { node: app.journal.node_name(), ..view };
    Ok(if may_quote { view } else { TrialView { examples: None, ..view } })
}

/// Makes the version on trial the active one.
#[utoipa::path(post, path = "/api/v1/modules/{name}/promote", tag = "modules", operation_id = "promote_module",
    params(("name" = String, Path)), request_body = ApprovalRequest,
    responses((status = 200, body = DataAnswer<ModuleView>), (status = 404, body = ApiProblem),
        (status = 409, body = ApiProblem, description = "No version is on trial, or it cannot be activated."), (status = 422, body = ApiProblem)))]
pub async fn promote_module(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(name): Path<String>,
    JsonInput(request): JsonInput<ApprovalRequest>,
) -> Result<(Option<Extension<ForcedNote>>, Json<DataAnswer<ModuleView>>), ApiProblem> {
    let (version, _) = find_running(&app, &name).await?;
    let path = Path((name, version.version.to_string()));
    activate_module(State(app), principal, path, JsonInput(request)).await
}

/// Ends the trial of a module: the active version runs all events again. Its results stay until
/// another trial or activation.
#[utoipa::path(post, path = "/api/v1/modules/{name}/rollback", tag = "modules", operation_id = "roll_back_module",
    params(("name" = String, Path)),
    responses((status = 200, body = DataAnswer<TrialView>), (status = 404, body = ApiProblem),
        (status = 409, body = ApiProblem, description = "No version is on trial.")))]
pub async fn roll_back_module(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(name): Path<String>,
) -> Result<Json<DataAnswer<TrialView>>, ApiProblem> {
    let (_, trial) = find_running(&app, &name).await?;
    let why = format!("rolled back by `{}`", principal.token().settings.name);
    let end = TrialEnd { at: app.journal.clock().now(), why, is_automatic: false };
    // Another caller may have been faster, which is as well.
    end_trial(&app.live, &app.journal, &name, trial.run, end).await?;
    load_view(&app, &principal, &name).await.map(data_answer)
}

/// Shows the trial of a module, running or ended: how the version compares with the active one. The
/// counts are those of all nodes. The examples are those of the node that answers, and need
/// `events:read` too, because they quote events.
#[utoipa::path(get, path = "/api/v1/modules/{name}/trial", tag = "modules", operation_id = "show_module_trial",
    params(("name" = String, Path)),
    responses((status = 200, body = DataAnswer<TrialView>), (status = 404, body = ApiProblem)))]
pub async fn show_trial(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(name): Path<String>,
) -> Result<Json<DataAnswer<TrialView>>, ApiProblem> {
    load_view(&app, &principal, &name).await.map(data_answer)
}
