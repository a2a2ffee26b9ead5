//! `/config`: everything that is set, as one document. What `waybill apply` and `waybill export` speak.
//!
//! Applying is idempotent and all or nothing, in one transaction: things are found by their name, made
//! where they are missing, changed where they differ. What the document does not name stays, unless it
//! says `prune: true`.

#![expect(unused_qualifications, reason = "utoipa's macro writes them")]

pub mod carry;
pub mod document;
pub mod modules;

use super::answer::{DataAnswer, data_answer};
use super::auth::{ADMIN, CallPrincipal};
use super::body::{JsonInput, QueryInput};
use super::edit::KnownModules;
use super::endpoints::{LOCKED, check_schemes, read_settings, split_secret};
use super::problem::ApiProblem;
use super::tokens::check_ceiling;
use super::{AppState, edit, sources};
use crate::access::token::{StoredToken, generate_token, token_digest};
use crate::model::fault::InputFault;
use crate::model::id::{EndpointId, FlowId, SourceId, TokenId};
use crate::model::private_values::{keep_endpoint, keep_flow};
use crate::model::secrets::SigningSecrets;
use crate::settings::SettingsSnapshot;
use crate::signing::generate_secret;
use crate::store::objects::{ObjectChange, ObjectKind};
use axum::Json;
use axum::extract::State;
use carry::CarriedSecrets;
use document::{AppliedChange, AppliedDocument, ConfigDocument};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use utoipa::IntoParams;

/// How to apply.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ApplyQuery {
    /// Only say what would change.
    #[serde(default)]
    dry_run: bool,
}

fn object<S: Serialize>(settings: &S) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(object)) => object,
        Ok(_) | Err(_) => Map::new(),
    }
}

/// Brings what is set in line with a document.
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
    let topology = app.live.current_settings();
    let mut work = ApplyWork {
        app: &app,
        topology: &topology,
        carried: &carried,
        known: KnownModules::default(),
        changes: Vec::new(),
        applied: Vec::new(),
    };
    work.apply_modules(&document, query.dry_run).await?;
    work.apply_sources(&document)?;
    work.apply_endpoints(&document)?;
    work.apply_flows(&document)?;
    work.apply_tokens(&document, &principal)?;
    if document.prune {
        work.delete_unlisted(&document, &principal);
    }
    let (changes, mut applied) = (work.changes, work.applied);
    if query.dry_run {
        // What is made for real will be another.
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
    topology: &'a SettingsSnapshot,
    /// Secrets that the document carries.
    carried: &'a CarriedSecrets,
    /// The modules that there will be.
    known: KnownModules,
    changes: Vec<ObjectChange>,
    applied: Vec<AppliedChange>,
}

/// A problem with the place of the thing in its list.
fn with_place(problem: ApiProblem, list: &str, n: usize) -> ApiProblem {
    if problem.errors.is_empty() {
        return problem;
    }
    ApiProblem::invalid(within(problem.errors, &format!("{list}[{n}]")))
}

/// The fields in which two things differ.
fn differing_fields(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<String> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).cloned().collect()
}

impl ApplyWork<'_> {
    /// Notes what happens to a thing; whether it is to be written.
    fn note_change<S: Serialize>(
        &mut self,
        kind: ObjectKind,
        name: &str,
        old: Option<&S>,
        new: &S,
        secret: Option<String>,
    ) -> bool {
        let fields =
            old.map(|old| differing_fields(&object(old), &object(new))).unwrap_or_default();
        let action = match old {
            None => "create",
            Some(_) if fields.is_empty() => "unchanged",
            Some(_) => "update",
        };
        let name = name.to_owned();
        let (kind, warning) = (kind.as_str(), None);
        self.applied.push(AppliedChange { kind, name, action, fields, secret, warning });
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
        };
        self.known = KnownModules::new(&versions);
        for choice in modules::choose_versions(&document.modules, is_pinned, &versions, dry_run)? {
            let changes = choice.missing || choice.activate.is_some();
            self.note_module(choice.name, if changes { "update" } else { "unchanged" });
            if let Some(change) = self.applied.last_mut() {
                change.warning = choice.warning;
            }
            if let Some(version) = choice.activate {
                self.known.activate(choice.name);
                let name = choice.name.to_owned();
                self.changes.push(ObjectChange::ActivateModule { name, version });
            }
        }
        // In a dry run what is missing counts as uploaded.
        for choice in &document.modules {
            self.known.add(&choice.name, choice.version, choice.active);
        }
        Ok(())
    }

    fn note_module(&mut self, name: &str, action: &'static str) {
        let fields = if action == "unchanged" { Vec::new() } else { vec!["version".to_owned()] };
        let name = name.to_owned();
        let (secret, warning) = (None, None);
        self.applied.push(AppliedChange { kind: "module", name, action, fields, secret, warning });
    }

    fn apply_sources(&mut self, document: &ConfigDocument) -> Result<(), ApiProblem> {
        for (n, given) in document.sources.iter().enumerate() {
            self.apply_source(given.clone())
                .map_err(|problem| with_place(problem, "sources", n))?;
        }
        Ok(())
    }

    fn apply_source(&mut self, mut given: Map<String, Value>) -> Result<(), ApiProblem> {
        let secret = sources::split_secret(&mut given)?;
        let name = given.get("name").and_then(Value::as_str).unwrap_or_default();
        let old = self.topology.find_source_runtime(name);
        let carried = self.carried.find_source(name);
        let stored = carried.iter().map(|carried| &carried.settings);
        let stored: Vec<_> = stored.chain(old.map(|old| &old.source.settings)).collect();
        let new = sources::read_settings(&given, &stored)?;
        // No address gets to see a secret that was given for another.
        let carried = carried.filter(|carried| carried.settings.asked() == new.asked());
        let carried = carried.and_then(|carried| carried.secrets.as_ref());
        let known = secret.is_some() || carried.is_some();
        if let Some(old) = old {
            if !known {
                sources::check_locked(old, &new, None)?;
            }
            // Without a secret of its own there is none that an address could see.
            sources::check_change(&old.source.settings, &new, known || old.secrets.is_none())?;
        }
        let before = old.and_then(|old| old.secrets.as_ref());
        let (secrets, shown) = sources::new_secrets(&new, secret, carried.or(before));
        sources::check_key(&new, secrets.as_ref())?;
        let current = |secrets: &SigningSecrets| secrets.current.clone();
        let resealed = old.is_some() && secrets.as_ref().map(current) != before.map(current);
        let old_settings = old.map(|old| &old.source.settings);
        let noted = self.note_change(ObjectKind::Source, &new.name, old_settings, &new, shown);
        if self.note_secret(resealed) || noted {
            let id = old.map_or_else(SourceId::generate, |old| old.source.id);
            let now = self.app.journal.clock().now();
            let created = old.map_or(now, |old| old.source.created_at);
            let change = edit::put_source(self.app, id, &new, secrets.as_ref(), created)?;
            self.changes.push(change.replacing(old.map(|old| old.source.updated_at)));
        }
        Ok(())
    }

    /// Notes that the last thing has another secret, if it has.
    fn note_secret(&mut self, resealed: bool) -> bool {
        if resealed && let Some(change) = self.applied.last_mut() {
            change.action = "update";
            change.fields.push("secret".to_owned());
        }
        resealed
    }

    fn apply_endpoints(&mut self, document: &ConfigDocument) -> Result<(), ApiProblem> {
        for (n, given) in document.endpoints.iter().enumerate() {
            self.apply_endpoint(given.clone())
                .map_err(|problem| with_place(problem, "endpoints", n))?;
        }
        Ok(())
    }

    fn apply_endpoint(&mut self, mut given: Map<String, Value>) -> Result<(), ApiProblem> {
        let secret = split_secret(&mut given)?;
        let mut new = read_settings(&given)?;
        let old = self.topology.endpoint_named(&new.name);
        let carried = self.carried.find_endpoint(&new.name);
        let stored = carried.iter().map(|carried| &carried.settings);
        let stored: Vec<_> = stored.chain(old.map(|old| &old.endpoint.settings)).collect();
        edit::check_faults(keep_endpoint(&mut new, &stored))?;
        let before = old.and_then(|old| old.secrets.as_ref());
        let kept = carried.and_then(|carried| carried.secrets.as_ref()).or(before);
        if secret.is_none() && kept.is_none() && old.is_some() {
            return Err(ApiProblem::fault("secret", LOCKED));
        }
        let made = secret.is_none() && kept.is_none();
        let secrets = match (secret, kept) {
            (Some(secret), Some(kept)) if secret == kept.current => kept.clone(),
            (Some(current), _) => SigningSecrets { current, previous: None },
            (None, Some(kept)) => kept.clone(),
            (None, None) => {
                SigningSecrets { current: generate_secret(&mut rand::rng()), previous: None }
            }
        };
        check_schemes(&new, &secrets)?;
        let resealed = old.is_some() && before.map(|b| &b.current) != Some(&secrets.current);
        let shown = made.then(|| secrets.current.clone());
        let old_settings = old.map(|old| &old.endpoint.settings);
        let noted = self.note_change(ObjectKind::Endpoint, &new.name, old_settings, &new, shown);
        if self.note_secret(resealed) || noted {
            let id = old.map_or_else(EndpointId::generate, |old| old.endpoint.id);
            let created =
                old.map_or_else(|| self.app.journal.clock().now(), |old| old.endpoint.created_at);
            let change = edit::put_endpoint(self.app, id, &new, &secrets, created)?;
            self.changes.push(change.replacing(old.map(|old| old.endpoint.updated_at)));
        }
        Ok(())
    }

    fn apply_flows(&mut self, document: &ConfigDocument) -> Result<(), ApiProblem> {
        let named = |name: &str| {
            document.endpoints.iter().any(|e| e.get("name").and_then(Value::as_str) == Some(name))
        };
        for (n, settings) in document.flows.iter().enumerate() {
            let topology = self.topology;
            let has = |name: &str| {
                named(name) || (!document.prune && topology.endpoint_named(name).is_some())
            };
            let old =
                topology.flows().iter().map(|r| &r.flow).find(|f| f.settings.name == settings.name);
            let mut settings = settings.clone();
            let carried = self.carried.find_flow(&settings.name);
            let stored: Vec<_> = carried.into_iter().chain(old.map(|old| &old.settings)).collect();
            let mut faults = keep_flow(&mut settings, &stored);
            let settings = &settings;
            faults.extend(edit::check_flow(settings, has, &self.known));
            edit::check_faults(within(faults, &format!("flows[{n}]")))?;
            if self.note_change(
                ObjectKind::Flow,
                &settings.name,
                old.map(|o| &o.settings),
                settings,
                None,
            ) {
                let id = old.map_or_else(FlowId::generate, |old| old.id);
                let created =
                    old.map_or_else(|| self.app.journal.clock().now(), |old| old.created_at);
                let change = edit::put_flow(self.app, id, settings, created)?;
                self.changes.push(change.replacing(old.map(|old| old.updated_at)));
            }
        }
        Ok(())
    }

    fn apply_tokens(
        &mut self,
        document: &ConfigDocument,
        principal: &CallPrincipal,
    ) -> Result<(), ApiProblem> {
        for (n, settings) in document.tokens.iter().enumerate() {
            edit::check_faults(within(settings.check(), &format!("tokens[{n}]")))?;
            let settings = &settings.clone().filled();
            let topology = self.topology;
            let old = topology.tokens().find(|(_, token)| token.settings.name == settings.name);
            let made = generate_token();
            let carried = self.carried.find_token(&settings.name).filter(|_| old.is_none());
            if carried.is_some_and(|digest| topology.find_token(&digest).is_some()) {
                let message = "this very token is here already, under another name";
                return Err(ApiProblem::fault(format!("tokens[{n}].name"), message));
            }
            let shown = (old.is_none() && carried.is_none()).then(|| made.clone());
            let old_settings = old.map(|(_, token)| &token.settings);
            check_ceiling(principal, settings, old_settings)?;
            if self.note_change(ObjectKind::Token, &settings.name, old_settings, settings, shown) {
                let now = self.app.journal.clock().now();
                let (digest, id, created) = match old {
                    Some((digest, token)) => (*digest, token.id, token.created_at),
                    None => {
                        (carried.unwrap_or_else(|| token_digest(&made)), TokenId::generate(), now)
                    }
                };
                let stored =
                    StoredToken { sha256: hex::encode(digest), settings: settings.clone() };
                let name = &settings.name;
                let change =
                    edit::put_object(ObjectKind::Token, name, id.uuid(), stored, None, created)?;
                self.changes.push(change.replacing(old.map(|(_, token)| token.updated_at)));
            }
        }
        Ok(())
    }

    /// Neither the admin token nor the one that asks is deleted: nobody locks himself out.
    fn delete_unlisted(&mut self, document: &ConfigDocument, principal: &CallPrincipal) {
        let value = json!(document);
        let named = |list: &str, name: &str| {
            let items = value.get(list).and_then(Value::as_array);
            items.is_some_and(|items| {
                items.iter().any(|item| item.get("name").and_then(Value::as_str) == Some(name))
            })
        };
        let topology = self.topology;
        let flows = topology.flows().iter().map(|r| &r.flow);
        let flows =
            flows.map(|f| (ObjectKind::Flow, "flows", f.settings.name.as_str(), f.id.uuid()));
        let endpoints = topology.endpoints().map(|t| &t.endpoint);
        let endpoints = endpoints
            .map(|e| (ObjectKind::Endpoint, "endpoints", e.settings.name.as_str(), e.id.uuid()));
        let sources = topology
            .sources()
            .map(|s| (ObjectKind::Source, "sources", s.settings.name.as_str(), s.id.uuid()));
        let tokens = topology.tokens().map(|(_, token)| token);
        let tokens = tokens
            .filter(|_| !document.tokens.is_empty())
            .filter(|token| token.settings.name != ADMIN && token.id != principal.token().id)
            .map(|t| (ObjectKind::Token, "tokens", t.settings.name.as_str(), t.id.uuid()));
        for (kind, list, name, id) in flows.chain(endpoints).chain(sources).chain(tokens) {
            if !named(list, name) {
                self.changes.push(ObjectChange::Delete { kind, id });
                let (name, fields) = (name.to_owned(), Vec::new());
                let kind = kind.as_str();
                self.applied.push(AppliedChange {
                    kind,
                    name,
                    action: "delete",
                    fields,
                    secret: None,
                    warning: None,
                });
            }
        }
    }
}

fn within(faults: Vec<InputFault>, place: &str) -> Vec<InputFault> {
    faults.into_iter().map(|fault| fault.within(place)).collect()
}
