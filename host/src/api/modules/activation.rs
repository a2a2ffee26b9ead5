//! The activation of module versions, and the approval of their capabilities.

use super::cases::{ForcedNote, check_activation};
use super::{ModuleView, UploadQuery, exported_roles, find_version, lost_roles, versions};
use crate::api::answer::{DataAnswer, data_answer};
use crate::api::auth::CallPrincipal;
use crate::api::body::JsonInput;
use crate::api::edit::{
    check_config, check_flow_roles, check_pass, check_role, place_in_endpoint, role_of_source,
};
use crate::api::events::id;
use crate::api::problem::ApiProblem;
use crate::api::{AppState, edit};
use crate::channels::module_channel::find_module;
use crate::model::endpoint::EndpointSettings;
use crate::model::fault::InputFault;
use crate::model::flow::FlowSettings;
use crate::model::module_manifest::ModuleManifest;
use crate::model::source::SourceSettings;
use crate::settings::SettingsSnapshot;
use crate::store::modules::ModuleVersion;
use crate::store::objects::ObjectChange;
use crate::wasm::{LoadedModule, ModuleRole};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Deserialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Options for an activation or approval.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRequest {
    /// Approved capabilities that the version requests, such as `http:api.example.com` or
    /// `secrets:enrich`. `http` means all hosts of its manifest, `secrets` all its secrets.
    #[serde(default)]
    pub approve: Vec<String>,
    /// Whether to activate it even if its sample cases fail. The audit shows that.
    #[serde(default)]
    pub force: bool,
}

/// A version that is to be activated.
#[derive(Debug, Clone, Copy)]
pub struct WantedVersion<'v> {
    /// The module's name on this server.
    pub name: &'v str,
    /// Version number, if it already has one.
    pub version: Option<u32>,
    pub manifest: Option<&'v ModuleManifest>,
    /// The roles that it exports.
    pub roles: &'v [ModuleRole],
    /// Capabilities that were approved before.
    pub approved: &'v BTreeSet<String>,
}

impl<'v> WantedVersion<'v> {
    pub fn new(
        version: &'v ModuleVersion,
        manifest: Option<&'v ModuleManifest>,
        roles: &'v [ModuleRole],
    ) -> Self {
        let (name, number, approved) = (&version.name, Some(version.version), &version.approved);
        Self { name, version: number, manifest, roles, approved }
    }

    /// Returns the approved capabilities: those approved before, those of the active version, and
    /// those of this request.
    pub fn approvals(
        &self,
        before: Option<&ModuleVersion>,
        given: &[String],
    ) -> Result<BTreeSet<String>, ApiProblem> {
        let asked = self.manifest.map(|manifest| manifest.capabilities.clone()).unwrap_or_default();
        let mut approved = asked.read_approvals(given).map_err(|word| {
            let message = match asked.items().as_slice() {
                [] => format!("this version asks for nothing, so `{word}` cannot be approved"),
                items => format!("`{word}` is not among what it asks for: {}", items.join(", ")),
            };
            ApiProblem::fault("approve", message)
        })?;
        let known = self.approved.iter().chain(before.into_iter().flat_map(|v| &v.approved));
        let items = asked.items();
        approved.extend(known.filter(|item| items.contains(item)).cloned());
        Ok(approved)
    }

    /// Returns the approved capabilities of a version that becomes active. Fails with a conflict if
    /// it requests one that is not approved.
    pub fn approve(
        &self,
        app: &AppState,
        before: Option<&ModuleVersion>,
        given: &[String],
    ) -> Result<BTreeSet<String>, ApiProblem> {
        let approved = self.approvals(before, given)?;
        let Some(manifest) = self.manifest else { return Ok(approved) };
        let decision = manifest.capabilities.decide(app.config.modules.policy, &approved);
        if decision.pending.is_empty() {
            return Ok(approved);
        }
        Err(ApiProblem::approval_needed(self.name, self.version, &decision.pending))
    }

    /// Returns the faults of flows that follow the active version and do not match its schema or
    /// its roles.
    pub fn check_flows<'f>(
        &self,
        flows: impl Iterator<Item = &'f FlowSettings>,
    ) -> Vec<InputFault> {
        let schema = self.manifest.and_then(|manifest| manifest.config.as_ref());
        let routes = self.roles.contains(&ModuleRole::Route);
        let mut faults = Vec::new();
        for flow in flows {
            let follows = flow.modules.iter().enumerate();
            let follows = follows.filter(|(_, m)| m.name == self.name && m.version.is_none());
            for (n, module) in follows {
                let place = format!("flows[{}].modules[{n}]", flow.name);
                let found = check_config(schema, module).into_iter();
                let found = found.chain(check_pass(module, routes));
                let found = found.chain(check_flow_roles(module, self.roles));
                faults.extend(found.map(|fault| fault.within(&place)));
            }
        }
        faults
    }

    /// Returns the faults of endpoints that follow the active version and do not match its schema or
    /// its roles.
    pub fn check_endpoints<'e>(
        &self,
        endpoints: impl Iterator<Item = &'e EndpointSettings>,
    ) -> Vec<InputFault> {
        let schema = self.manifest.and_then(|manifest| manifest.config.as_ref());
        let mut faults = Vec::new();
        for endpoint in endpoints {
            let module = find_module(endpoint);
            let module = module.filter(|m| m.name == self.name && m.version.is_none());
            let Some(module) = module else { continue };
            let place = format!("endpoints[{}]", endpoint.name);
            let found = check_config(schema, &module).into_iter();
            let found = found.chain(check_role(&module, ModuleRole::Channel, self.roles));
            faults.extend(found.map(|fault| place_in_endpoint(fault).within(&place)));
        }
        faults
    }

    /// Returns the faults of sources that follow the active version and do not match its schema or its
    /// roles.
    pub fn check_sources<'s>(
        &self,
        sources: impl Iterator<Item = &'s SourceSettings>,
    ) -> Vec<InputFault> {
        let schema = self.manifest.and_then(|manifest| manifest.config.as_ref());
        let mut faults = Vec::new();
        for source in sources {
            let module = source.find_module();
            let module = module.filter(|m| m.name == self.name && m.version.is_none());
            let Some(module) = module else { continue };
            let place = format!("sources[{}].{}", source.name, source.module_place());
            let found = check_config(schema, &module).into_iter();
            let found = found.chain(check_role(&module, role_of_source(source), self.roles));
            faults.extend(found.map(|fault| fault.within(&place)));
        }
        faults
    }

    /// Fails if a flow, an endpoint or a source that follows the active version does not fit this one.
    pub fn check_users(&self, settings: &SettingsSnapshot) -> Result<(), ApiProblem> {
        let mut faults = self.check_flows(readable_flows(settings));
        faults.extend(self.check_endpoints(readable_endpoints(settings)));
        faults.extend(self.check_sources(readable_sources(settings)));
        edit::check_faults(faults)
    }
}

/// Returns the approved capabilities of an upload. An upload that becomes active immediately is
/// refused under the same conditions as an activation.
pub fn approve_upload(
    app: &AppState,
    name: &str,
    query: &UploadQuery,
    module: &LoadedModule,
    before: Option<&ModuleVersion>,
) -> Result<BTreeSet<String>, ApiProblem> {
    let (manifest, approved) = (module.report().manifest.as_ref(), BTreeSet::new());
    let (roles, approved) = (module.report().exports.as_slice(), &approved);
    let wanted = WantedVersion { name, version: query.version, manifest, roles, approved };
    if !query.activate {
        return wanted.approvals(None, &query.approvals());
    }
    wanted.check_users(&app.live.current_settings())?;
    wanted.approve(app, before, &query.approvals())
}

/// Returns the flows whose configuration can be read.
pub fn readable_flows(settings: &SettingsSnapshot) -> impl Iterator<Item = &FlowSettings> {
    settings.flows().iter().filter(|route| !route.locked).map(|route| &route.flow.settings)
}

/// Returns the endpoints whose settings can be read.
pub fn readable_endpoints(settings: &SettingsSnapshot) -> impl Iterator<Item = &EndpointSettings> {
    let readable = settings.endpoints().filter(|target| !target.is_locked());
    readable.map(|target| &target.endpoint.settings)
}

/// Returns the sources whose settings can be read.
pub fn readable_sources(settings: &SettingsSnapshot) -> impl Iterator<Item = &SourceSettings> {
    let readable = settings.source_runtimes().filter(|runtime| !runtime.locked);
    readable.map(|runtime| &runtime.source.settings)
}

/// Activates a version for flows, endpoints and sources. Also returns to an older version. A version that requests more
/// than was approved is not activated until `approve` names it, and a version whose sample cases
/// fail is not activated until `force` is true.
#[utoipa::path(post, path = "/api/v1/modules/{name}/versions/{version}/activate", tag = "modules", operation_id = "activate_module",
    params(("name" = String, Path), ("version" = u32, Path)), request_body = ApprovalRequest,
    responses((status = 200, body = DataAnswer<ModuleView>), (status = 404, body = ApiProblem),
        (status = 409, body = ApiProblem, description = "The version asks for something that is not approved, or its sample cases fail; `errors` names each."),
        (status = 422, body = ApiProblem, description = "The configuration of a flow, an endpoint or a source does not fit its schema, or `approve` names something else.")))]
pub async fn activate_module(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path((name, number)): Path<(String, String)>,
    JsonInput(request): JsonInput<ApprovalRequest>,
) -> Result<(Option<Extension<ForcedNote>>, Json<DataAnswer<ModuleView>>), ApiProblem> {
    let found = find_version(&app, &name, Some(id("version", &number)?)).await?;
    // Before taking the turn, because cases may run for seconds.
    check_activation(&app, &found, request.force).await?;
    let _turn = app.live.take_edit_turn().await?;
    let before = versions(&app, &name).await?.into_iter().find(|v| v.active);
    let (manifest, roles) = (found.manifest(), exported_roles(&found));
    let wanted = WantedVersion::new(&found, manifest.as_ref(), &roles);
    let approved = wanted.approve(&app, before.as_ref(), &request.approve)?;
    wanted.check_users(&app.live.current_settings())?;
    let warning = before.and_then(|before| lost_roles(&before, &found));
    let (name, version) = (name.clone(), found.version);
    let change = ObjectChange::ActivateModule { name, version, approved: Some(approved) };
    edit::commit_changes(&app, &[change]).await?;
    let active = find_version(&app, &found.name, Some(found.version)).await?;
    let forced = request.force.then_some(Extension(ForcedNote));
    Ok((forced, data_answer(ModuleView { warning, ..ModuleView::new(&app, active) })))
}

/// Approves capabilities of a version without activating it, for flows that pin it by its number.
#[utoipa::path(post, path = "/api/v1/modules/{name}/versions/{version}/approve", tag = "modules", operation_id = "approve_module",
    params(("name" = String, Path), ("version" = u32, Path)), request_body = ApprovalRequest,
    responses((status = 200, body = DataAnswer<ModuleView>), (status = 404, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn approve_module(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path((name, number)): Path<(String, String)>,
    JsonInput(request): JsonInput<ApprovalRequest>,
) -> Result<Json<DataAnswer<ModuleView>>, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let found = find_version(&app, &name, Some(id("version", &number)?)).await?;
    let (manifest, roles) = (found.manifest(), exported_roles(&found));
    let wanted = WantedVersion::new(&found, manifest.as_ref(), &roles);
    let approved = wanted.approvals(None, &request.approve)?;
    let change = ObjectChange::ApproveModule { name, version: found.version, approved };
    edit::commit_changes(&app, &[change]).await?;
    let found = find_version(&app, &found.name, Some(found.version)).await?;
    Ok(data_answer(ModuleView::new(&app, found)))
}

/// Returns one version of a module, with its manifest and its granted capabilities.
#[utoipa::path(get, path = "/api/v1/modules/{name}/versions/{version}", tag = "modules", operation_id = "show_module_version",
    params(("name" = String, Path), ("version" = u32, Path)),
    responses((status = 200, body = DataAnswer<ModuleView>), (status = 404, body = ApiProblem)))]
pub async fn show_version(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path((name, number)): Path<(String, String)>,
) -> Result<Json<DataAnswer<ModuleView>>, ApiProblem> {
    let found = find_version(&app, &name, Some(id("version", &number)?)).await?;
    Ok(data_answer(ModuleView::new(&app, found)))
}
