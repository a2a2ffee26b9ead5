//! `/config`: all settings as one document, for `waybill apply` and `waybill export`.
//!
//! Applying is idempotent, and makes all changes or none, in one transaction. Objects are found by
//! their name, created if they are missing, and changed if they differ. Objects that the document
//! does not name stay, unless it says `prune: true`.

#![expect(unused_qualifications, reason = "utoipa's macro writes them")]

pub mod carry;
pub mod document;
pub mod modules;

use super::answer::{DataAnswer, data_answer};
use super::auth::CallPrincipal;
use super::body::{JsonInput, QueryInput};
use super::edit::KnownModules;
use super::endpoints::EndpointResource;
use super::flows::FlowResource;
use super::module_secrets::ModuleSecretResource;
use super::modules::activation::{
    WantedVersion, readable_endpoints, readable_flows, readable_sources,
};
use super::modules::cases::check_stored;
use super::modules::exported_roles;
use super::problem::ApiProblem;
use super::resource::{self, DraftContext, ObjectDraft, SettingsResource};
use super::sources::SourceResource;
use super::tokens::TokenResource;
use super::{AppState, edit};
use crate::model::endpoint::EndpointSettings;
use crate::model::flow::FlowSettings;
use crate::model::source::SourceSettings;
use crate::settings::SettingsSnapshot;
use crate::store::objects::ObjectChange;
use axum::Json;
use axum::extract::State;
use carry::CarriedSecrets;
use document::{AppliedChange, AppliedDocument, ConfigDocument};
use modules::ChosenVersion;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use utoipa::IntoParams;

/// Query of a call that applies a document.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ApplyQuery {
    /// Only computes the changes.
    #[serde(default)]
    dry_run: bool,
}

fn object<S: Serialize>(settings: &S) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(object)) => object,
        Ok(_) | Err(_) => Map::new(),
    }
}

/// Changes the settings to match a document.
#[utoipa::path(put, path = "/api/v1/config", tag = "config", operation_id = "apply_config", params(ApplyQuery),
    request_body = ConfigDocument, responses((status = 200, body = DataAnswer<AppliedDocument>), (status = 422, body = ApiProblem)))]
pub async fn apply_config(
    State(app): State<AppState>,
    principal: CallPrincipal,
    QueryInput(query): QueryInput<ApplyQuery>,
    JsonInput(document): JsonInput<ConfigDocument>,
) -> Result<Json<DataAnswer<AppliedDocument>>, ApiProblem> {
    let carried = CarriedSecrets::of_document(&document).await?;
    let _turn = app.live.take_edit_turn().await?;
    let snapshot = app.live.current_settings();
    let mut work = ApplyWork {
        app: &app,
        principal: &principal,
        snapshot: &snapshot,
        carried: &carried,
        modules: KnownModules::default(),
        endpoints: endpoint_names(&document, &snapshot),
        changes: Vec::new(),
        applied: Vec::new(),
    };
    work.apply_objects::<ModuleSecretResource>("module_secrets", &document.module_secrets)?;
    work.apply_modules(&document, query.dry_run).await?;
    work.apply_objects::<SourceResource>("sources", &document.sources)?;
    work.apply_objects::<EndpointResource>("endpoints", &document.endpoints)?;
    work.apply_objects::<FlowResource>("flows", &as_objects(&document.flows))?;
    work.apply_objects::<TokenResource>("tokens", &as_objects(&document.tokens))?;
    if document.prune {
        work.delete_unlisted::<FlowResource>(&as_objects(&document.flows));
        work.delete_unlisted::<EndpointResource>(&document.endpoints);
        work.delete_unlisted::<SourceResource>(&document.sources);
        // A document from a version without module secrets must not delete them.
        if !document.module_secrets.is_empty() {
            work.delete_unlisted::<ModuleSecretResource>(&document.module_secrets);
        }
        if !document.tokens.is_empty() {
            work.delete_unlisted::<TokenResource>(&as_objects(&document.tokens));
        }
    }
    let (changes, mut applied) = (work.changes, work.applied);
    if query.dry_run {
        // The real run will make another secret.
        for change in &mut applied {
            change.secret = None;
        }
    }
    if !query.dry_run && !changes.is_empty() {
        edit::commit_changes(&app, &changes).await?;
    }
    Ok(data_answer(AppliedDocument { changes: applied }))
}

struct ApplyWork<'a> {
    app: &'a AppState,
    principal: &'a CallPrincipal,
    snapshot: &'a SettingsSnapshot,
    /// Secrets that the document carries.
    carried: &'a CarriedSecrets,
    /// The modules after the change.
    modules: KnownModules,
    /// The endpoints after the change.
    endpoints: BTreeSet<String>,
    changes: Vec<ObjectChange>,
    applied: Vec<AppliedChange>,
}

fn name_of(given: &Map<String, Value>) -> &str {
    given.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// Whether an endpoint or a source names a version of a module by its number.
fn pins_module((settings, key): (Option<&Value>, &str), (name, number): (&str, u32)) -> bool {
    let set = |key: &str| settings.and_then(|settings| settings.get(key));
    set(key).is_some_and(|module| module == name)
        && set("version").and_then(Value::as_u64) == Some(number.into())
}

/// Returns the places of modules in an endpoint or a source, each with the member that names the
/// module.
fn module_places(given: &Map<String, Value>) -> [(Option<&Value>, &'static str); 3] {
    let decoder = given.get("webhook").and_then(|webhook| webhook.get("module"));
    [(given.get("settings"), "module"), (decoder, "name"), (given.get("module"), "name")]
}

fn as_objects<S: Serialize>(settings: &[S]) -> Vec<Map<String, Value>> {
    settings.iter().map(object).collect()
}

/// Returns the names of the endpoints after the change.
fn endpoint_names(document: &ConfigDocument, snapshot: &SettingsSnapshot) -> BTreeSet<String> {
    let stays = snapshot.endpoints().filter(|_| !document.prune);
    let stays = stays.map(|target| target.endpoint.settings.name.clone());
    document.endpoints.iter().map(|given| name_of(given).to_owned()).chain(stays).collect()
}

/// Returns the fields in which two objects differ.
fn differing_fields(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<String> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).cloned().collect()
}

impl ApplyWork<'_> {
    /// Records the change of an object. Returns whether it must be written.
    fn note_change<R: SettingsResource>(
        &mut self,
        old: Option<&R::Settings>,
        draft: &ObjectDraft<R::Settings>,
    ) -> bool {
        let new = object(&draft.settings);
        let mut fields = old.map(|old| differing_fields(&object(old), &new)).unwrap_or_default();
        if old.is_some() && draft.has_other_secret {
            fields.push("secret".to_owned());
        }
        let action = match old {
            None => "create",
            Some(_) if fields.is_empty() => "unchanged",
            Some(_) => "update",
        };
        let name = R::name(&draft.settings);
        let change = AppliedChange::new(R::KIND.as_str(), name, action);
        self.applied.push(AppliedChange { fields, secret: draft.made.clone(), ..change });
        action != "unchanged"
    }

    async fn apply_modules(
        &mut self,
        document: &ConfigDocument,
        dry_run: bool,
    ) -> Result<(), ApiProblem> {
        let versions = self.app.journal.list_modules().await?;
        let pins = document.flows.iter().flat_map(|flow| &flow.modules);
        let is_pinned = |name: &str, number: u32| {
            pins.clone().any(|module| module.name == name && module.version == Some(number))
                || document.endpoints.iter().chain(&document.sources).any(|given| {
                    let mut places = module_places(given).into_iter();
                    places.any(|place| pins_module(place, (name, number)))
                })
        };
        self.modules = KnownModules::new(&versions);
        let chosen = modules::choose_versions(&document.modules, is_pinned, &versions, dry_run)?;
        for (n, (choice, given)) in chosen.into_iter().zip(&document.modules).enumerate() {
            let place = format!("modules[{n}]");
            let change = self.change_module(document, &choice, &given.approve);
            let change = change.map_err(|problem| problem.within(&place))?;
            let fields = match &change {
                Some(ObjectChange::ApproveModule { .. }) => vec!["approve".to_owned()],
                Some(_) => vec!["version".to_owned()],
                None if choice.missing => vec!["version".to_owned()],
                None => Vec::new(),
            };
            let action = if fields.is_empty() { "unchanged" } else { "update" };
            let noted = AppliedChange::new("module", choice.name, action);
            self.applied.push(AppliedChange { fields, warning: choice.warning, ..noted });
            self.changes.extend(change);
        }
        // In a dry run a missing component counts as uploaded.
        for choice in &document.modules {
            self.modules.add(&choice.name, choice.version, choice.active);
        }
        Ok(())
    }

    /// Activates the version that a document chooses, or approves further capabilities.
    fn change_module(
        &mut self,
        document: &ConfigDocument,
        choice: &ChosenVersion<'_>,
        approve: &[String],
    ) -> Result<Option<ObjectChange>, ApiProblem> {
        let Some(found) = choice.wanted else {
            self.modules.activate(choice.name, None);
            return Ok(None);
        };
        let (manifest, name) = (found.manifest(), choice.name.to_owned());
        let roles = exported_roles(found);
        let wanted = WantedVersion::new(found, manifest.as_ref(), &roles);
        let Some(version) = choice.activate else {
            let approved = wanted.approvals(None, approve)?;
            let grows = approved != found.approved;
            let version = found.version;
            return Ok(grows.then_some(ObjectChange::ApproveModule { name, version, approved }));
        };
        check_stored(found)?;
        self.modules.activate(choice.name, Some(version));
        let approved = wanted.approve(self.app, choice.before, approve)?;
        // The document's own flows are checked when they are read.
        let stay = |flow: &&FlowSettings| {
            !document.prune && document.flows.iter().all(|given| given.name != flow.name)
        };
        let flows = readable_flows(self.snapshot).filter(stay);
        edit::check_faults(wanted.check_flows(flows))?;
        let stay = |endpoint: &&EndpointSettings| {
            !document.prune
                && document.endpoints.iter().all(|given| name_of(given) != endpoint.name)
        };
        let endpoints = readable_endpoints(self.snapshot).filter(stay);
        edit::check_faults(wanted.check_endpoints(endpoints))?;
        let stay = |source: &&SourceSettings| {
            !document.prune && document.sources.iter().all(|given| name_of(given) != source.name)
        };
        let sources = readable_sources(self.snapshot).filter(stay);
        edit::check_faults(wanted.check_sources(sources))?;
        Ok(Some(ObjectChange::ActivateModule { name, version, approved: Some(approved) }))
    }

    fn apply_objects<R: SettingsResource>(
        &mut self,
        list: &str,
        given: &[Map<String, Value>],
    ) -> Result<(), ApiProblem> {
        for (n, given) in given.iter().enumerate() {
            self.apply_object::<R>(given.clone())
                .map_err(|problem| problem.within(&format!("{list}[{n}]")))?;
        }
        Ok(())
    }

    fn apply_object<R: SettingsResource>(
        &mut self,
        given: Map<String, Value>,
    ) -> Result<(), ApiProblem> {
        let old = R::find_named(self.snapshot, name_of(&given));
        let context = DraftContext {
            principal: self.principal,
            snapshot: self.snapshot,
            modules: &self.modules,
            has_endpoint: &|name| self.endpoints.contains(name),
            carried: self.carried,
            channels: &self.app.config.channels,
        };
        let draft = R::draft(&context, given, old.as_ref())?;
        let old_settings = old.as_ref().map(|old| R::state(old).settings);
        let noted = self.note_change::<R>(old_settings, &draft);
        if noted {
            self.changes.push(resource::put_over::<R>(self.app, &draft, old.as_ref())?);
        }
        Ok(())
    }

    fn delete_unlisted<R: SettingsResource>(&mut self, given: &[Map<String, Value>]) {
        let names: BTreeSet<&str> = given.iter().map(name_of).collect();
        for object in R::list_by_name(self.snapshot) {
            let state = R::state(&object);
            let name = R::name(state.settings);
            if !names.contains(name) && R::may_prune(self.principal, &object) {
                self.changes.push(ObjectChange::Delete { kind: R::KIND, id: state.id });
                self.applied.push(AppliedChange::new(R::KIND.as_str(), name, "delete"));
            }
        }
    }
}
