//! `/config`: everything that is set, as one document. What `waybill apply` and `waybill export` speak.
//!
//! Applying is idempotent and all or nothing: things are found by their name, made where they are
//! missing, changed where they differ. What the document does not name stays, unless it says
//! `prune: true`.

#![expect(unused_qualifications, reason = "utoipa's macro writes them")]

use super::answer::{Data, data};
use super::auth::{ADMIN, Principal};
use super::body::{Input, Query};
use super::endpoints::{LOCKED, check_schemes, settings, split_secret};
use super::problem::Problem;
use super::tokens::check_ceiling;
use super::{App, edit, sources};
use crate::access::token::{StoredToken, TokenSettings, digest, generate};
use crate::domain::endpoint::Secrets;
use crate::domain::flow::FlowSettings;
use crate::domain::id::{EndpointId, FlowId, SourceId, TokenId};
use crate::domain::private::{SettingsKind, keep_endpoint, keep_flow, keep_source};
use crate::domain::problem::Fault;
use crate::domain::source::SourceSettings;
use crate::journal::objects::{Change, Kind};
use crate::sign::generate_secret;
use crate::topology::Topology;
use axum::Json;
use axum::extract::State;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use utoipa::{IntoParams, ToSchema};

/// Everything that is set.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    /// Sources, by name. A new one may have a `secret`; else one is made where its scheme has one, and
    /// shown with the change.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub sources: Vec<Map<String, Value>>,
    /// Endpoints, by name. A new one may have a `secret`; else it is made, and shown with the change.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub endpoints: Vec<Map<String, Value>>,
    /// Flows, by name.
    #[serde(default)]
    pub flows: Vec<FlowSettings>,
    /// Which version of each module runs.
    #[serde(default)]
    pub modules: Vec<ModuleChoice>,
    /// Tokens, by name, but for `admin`. A new one is made, and shown with the change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<TokenSettings>,
    /// Whether what is not named is deleted; tokens only where the document names one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prune: bool,
}

/// Which version of a module runs.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ModuleChoice {
    /// The module's name.
    pub name: String,
    /// The version; the one that runs already, or the newest, where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The component's SHA-256 in hex, instead of a version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// One thing that applying changes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AppliedChange {
    /// `source`, `endpoint`, `flow`, `module` or `token`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// `create`, `update`, `unchanged` or `delete`.
    pub action: &'static str,
    /// The fields that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// The secret that was made for a new endpoint or source, or the new token; shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// What applying changed, or would change.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Applied {
    /// One for each thing in the document.
    pub changes: Vec<AppliedChange>,
}

/// How to apply.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ApplyQuery {
    /// Only say what would change.
    #[serde(default)]
    dry_run: bool,
}

/// Everything that is set. Secrets are left out, header values are masked.
#[utoipa::path(get, path = "/api/v1/config", tag = "config", operation_id = "export_config",
    responses((status = 200, body = Data<Document>)))]
pub(super) async fn export(
    State(app): State<App>,
    _principal: Principal,
) -> Result<Json<Data<Document>>, Problem> {
    let topology = app.live.current();
    let mut sources: Vec<&SourceSettings> = topology.sources().map(|s| &s.settings).collect();
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    let sources = sources.into_iter().map(|settings| masked(SettingsKind::Source, settings));
    let sources = sources.collect::<Result<_, _>>()?;
    let endpoints = topology.endpoints().map(|target| &target.endpoint.settings);
    let endpoints = endpoints.map(|settings| masked(SettingsKind::Endpoint, settings));
    let endpoints = endpoints.collect::<Result<_, _>>()?;
    let flows = topology.flows().iter().map(|route| &route.flow.settings);
    let flows = flows.map(|settings| masked(SettingsKind::Flow, settings));
    let flows = flows.collect::<Result<_, _>>()?;
    let active = app.journal.modules().await?.into_iter().filter(|version| version.active);
    let modules =
        active.map(|v| ModuleChoice { name: v.name, version: Some(v.version), sha256: None });
    let modules = modules.collect();
    let tokens = topology.tokens().map(|(_, token)| &token.settings);
    let mut tokens: Vec<TokenSettings> = tokens.filter(|t| t.name != ADMIN).cloned().collect();
    tokens.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(data(Document { sources, endpoints, flows, modules, tokens, prune: false }))
}

/// Settings as they are exported: without what is private.
fn masked<S: Serialize, T: DeserializeOwned>(
    kind: SettingsKind,
    settings: &S,
) -> Result<T, Problem> {
    serde_json::from_value(edit::masked(kind, settings)?).map_err(|error| {
        tracing::error!(%error, "masked settings cannot be read");
        Problem::internal()
    })
}

fn object<S: Serialize>(settings: &S) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(object)) => object,
        Ok(_) | Err(_) => Map::new(),
    }
}

/// Brings what is set in line with a document.
#[utoipa::path(put, path = "/api/v1/config", tag = "config", operation_id = "apply_config", params(ApplyQuery),
    request_body = Document, responses((status = 200, body = Data<Applied>), (status = 422, body = Problem)))]
pub(super) async fn apply(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<ApplyQuery>,
    Input(document): Input<Document>,
) -> Result<Json<Data<Applied>>, Problem> {
    let topology = app.live.current();
    let mut work =
        Work { app: &app, topology: &topology, changes: Vec::new(), applied: Vec::new() };
    work.modules(&document.modules, query.dry_run).await?;
    work.sources(&document)?;
    work.endpoints(&document)?;
    work.flows(&document).await?;
    work.tokens(&document, &principal)?;
    if document.prune {
        work.prune(&document, &principal);
    }
    let (changes, mut applied) = (work.changes, work.applied);
    if query.dry_run {
        // What is made for real will be another.
        for change in &mut applied {
            change.secret = None;
        }
    }
    if !query.dry_run && !changes.is_empty() {
        edit::commit(&app, &changes).await?;
    }
    Ok(data(Applied { changes: applied }))
}

struct Work<'a> {
    app: &'a App,
    topology: &'a Topology,
    changes: Vec<Change>,
    applied: Vec<AppliedChange>,
}

/// A problem with the place of the thing in its list.
fn placed(problem: Problem, list: &str, n: usize) -> Problem {
    if problem.errors.is_empty() {
        return problem;
    }
    Problem::invalid(within(problem.errors, &format!("{list}[{n}]")))
}

/// The fields in which two things differ.
fn differing(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<String> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).cloned().collect()
}

impl Work<'_> {
    /// Notes what happens to a thing; whether it is to be written.
    fn note<S: Serialize>(
        &mut self,
        kind: Kind,
        name: &str,
        old: Option<&S>,
        new: &S,
        secret: Option<String>,
    ) -> bool {
        let fields = old.map(|old| differing(&object(old), &object(new))).unwrap_or_default();
        let action = match old {
            None => "create",
            Some(_) if fields.is_empty() => "unchanged",
            Some(_) => "update",
        };
        let name = name.to_owned();
        self.applied.push(AppliedChange { kind: kind.as_str(), name, action, fields, secret });
        action != "unchanged"
    }

    async fn modules(&mut self, choices: &[ModuleChoice], dry_run: bool) -> Result<(), Problem> {
        let versions = self.app.journal.modules().await?;
        let mut activated = false;
        for (n, choice) in choices.iter().enumerate() {
            let mine = || versions.iter().filter(|v| v.name == choice.name);
            let fits = |v: &&crate::journal::modules::ModuleVersion| match (
                &choice.sha256,
                choice.version,
            ) {
                (Some(sha256), _) => hex::encode(v.sha256) == *sha256,
                (None, Some(version)) => v.version == version,
                (None, None) => true,
            };
            let active = mine().find(|v| v.active && fits(v));
            let Some(wanted) = active.or_else(|| mine().filter(fits).max_by_key(|v| v.version))
            else {
                if dry_run && choice.sha256.is_some() {
                    // `waybill apply` uploads it before it applies for real.
                    self.note_module(&choice.name, "update");
                    continue;
                }
                let message =
                    format!("module `{}` has no such version; upload it first", choice.name);
                return Err(Problem::fault(format!("modules[{n}]"), message));
            };
            self.note_module(&choice.name, if wanted.active { "unchanged" } else { "update" });
            if !wanted.active && !dry_run {
                self.app.journal.activate_module(&choice.name, wanted.version).await?;
                activated = true;
            }
        }
        if activated {
            self.app.live.reload().await?;
        }
        Ok(())
    }

    fn note_module(&mut self, name: &str, action: &'static str) {
        let fields = if action == "unchanged" { Vec::new() } else { vec!["version".to_owned()] };
        let name = name.to_owned();
        self.applied.push(AppliedChange { kind: "module", name, action, fields, secret: None });
    }

    fn sources(&mut self, document: &Document) -> Result<(), Problem> {
        for (n, given) in document.sources.iter().enumerate() {
            self.source(given.clone()).map_err(|problem| placed(problem, "sources", n))?;
        }
        Ok(())
    }

    fn source(&mut self, mut given: Map<String, Value>) -> Result<(), Problem> {
        let secret = sources::split_secret(&mut given)?;
        let mut new = sources::settings(&given)?;
        let old = self.topology.inlet(&new.name);
        let stored: Vec<_> = old.iter().map(|old| &old.source.settings).collect();
        edit::check(keep_source(&mut new, &stored))?;
        if let Some(old) = old {
            sources::check_locked(old, &new, secret.as_deref())?;
            let settings = &old.source.settings;
            // Without a secret of its own there is none that an address could see.
            let is_safe = secret.is_some() || old.secrets.is_none();
            sources::check_change(settings, &new, is_safe)?;
        }
        let kept = old.and_then(|old| old.secrets.as_ref());
        let resealed = kept.is_some_and(|kept| secret.as_ref().is_some_and(|s| *s != kept.current));
        let (secrets, shown) = sources::secrets(&new, secret, kept);
        sources::check_key(&new, secrets.as_ref())?;
        let old_settings = old.map(|old| &old.source.settings);
        let noted = self.note(Kind::Source, &new.name, old_settings, &new, shown);
        if self.note_secret(resealed) || noted {
            let id = old.map_or_else(SourceId::generate, |old| old.source.id);
            let now = self.app.journal.clock().now();
            let created = old.map_or(now, |old| old.source.created_at);
            let change = edit::put_source(self.app, id, &new, secrets.as_ref(), created)?;
            self.changes.push(change);
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

    fn endpoints(&mut self, document: &Document) -> Result<(), Problem> {
        for (n, given) in document.endpoints.iter().enumerate() {
            self.endpoint(given.clone()).map_err(|problem| placed(problem, "endpoints", n))?;
        }
        Ok(())
    }

    fn endpoint(&mut self, mut given: Map<String, Value>) -> Result<(), Problem> {
        let secret = split_secret(&mut given)?;
        let mut new = settings(&given)?;
        let old = self.topology.endpoint_named(&new.name);
        let stored: Vec<_> = old.iter().map(|old| &old.endpoint.settings).collect();
        edit::check(keep_endpoint(&mut new, &stored))?;
        if secret.is_none() && old.is_some_and(|old| old.is_locked()) {
            return Err(Problem::fault("secret", LOCKED));
        }
        let kept = old.and_then(|old| old.secrets.as_ref());
        let current = kept.map(|kept| kept.current.clone());
        let resealed = secret.is_some() && current.is_some() && secret != current;
        let made = secret.is_none() && current.is_none();
        let secrets = match (secret, kept) {
            (Some(secret), Some(kept)) if secret == kept.current => kept.clone(),
            (Some(current), _) => Secrets { current, previous: None },
            (None, Some(kept)) => kept.clone(),
            (None, None) => Secrets { current: generate_secret(&mut rand::rng()), previous: None },
        };
        check_schemes(&new, &secrets)?;
        let shown = made.then(|| secrets.current.clone());
        let old_settings = old.map(|old| &old.endpoint.settings);
        let noted = self.note(Kind::Endpoint, &new.name, old_settings, &new, shown);
        if self.note_secret(resealed) || noted {
            let id = old.map_or_else(EndpointId::generate, |old| old.endpoint.id);
            let created =
                old.map_or_else(|| self.app.journal.clock().now(), |old| old.endpoint.created_at);
            self.changes.push(edit::put_endpoint(self.app, id, &new, &secrets, created)?);
        }
        Ok(())
    }

    async fn flows(&mut self, document: &Document) -> Result<(), Problem> {
        let modules: Vec<String> =
            self.app.journal.modules().await?.into_iter().map(|m| m.name).collect();
        let modules: Vec<String> =
            modules.into_iter().chain(document.modules.iter().map(|m| m.name.clone())).collect();
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
            let stored: Vec<_> = old.iter().map(|old| &old.settings).collect();
            let mut faults = keep_flow(&mut settings, &stored);
            let settings = &settings;
            faults.extend(edit::check_flow(settings, has, &modules));
            edit::check(within(faults, &format!("flows[{n}]")))?;
            if self.note(Kind::Flow, &settings.name, old.map(|o| &o.settings), settings, None) {
                let id = old.map_or_else(FlowId::generate, |old| old.id);
                let created =
                    old.map_or_else(|| self.app.journal.clock().now(), |old| old.created_at);
                self.changes.push(edit::put_flow(self.app, id, settings, created)?);
            }
        }
        Ok(())
    }

    fn tokens(&mut self, document: &Document, principal: &Principal) -> Result<(), Problem> {
        for (n, settings) in document.tokens.iter().enumerate() {
            edit::check(within(settings.check(), &format!("tokens[{n}]")))?;
            let settings = &settings.clone().filled();
            let topology = self.topology;
            let old = topology.tokens().find(|(_, token)| token.settings.name == settings.name);
            let made = generate();
            let shown = old.is_none().then(|| made.clone());
            let old_settings = old.map(|(_, token)| &token.settings);
            check_ceiling(principal, settings, old_settings)?;
            if self.note(Kind::Token, &settings.name, old_settings, settings, shown) {
                let now = self.app.journal.clock().now();
                let (digest, id, created) = match old {
                    Some((digest, token)) => (*digest, token.id, token.created_at),
                    None => (digest(&made), TokenId::generate(), now),
                };
                let stored =
                    StoredToken { sha256: hex::encode(digest), settings: settings.clone() };
                let name = &settings.name;
                self.changes.push(edit::put(Kind::Token, name, id.uuid(), stored, None, created)?);
            }
        }
        Ok(())
    }

    /// Neither the admin token nor the one that asks is deleted: nobody locks himself out.
    fn prune(&mut self, document: &Document, principal: &Principal) {
        let value = json!(document);
        let named = |list: &str, name: &str| {
            let items = value.get(list).and_then(Value::as_array);
            items.is_some_and(|items| {
                items.iter().any(|item| item.get("name").and_then(Value::as_str) == Some(name))
            })
        };
        let topology = self.topology;
        let flows = topology.flows().iter().map(|r| &r.flow);
        let flows = flows.map(|f| (Kind::Flow, "flows", f.settings.name.as_str(), f.id.uuid()));
        let endpoints = topology.endpoints().map(|t| &t.endpoint);
        let endpoints =
            endpoints.map(|e| (Kind::Endpoint, "endpoints", e.settings.name.as_str(), e.id.uuid()));
        let sources = topology
            .sources()
            .map(|s| (Kind::Source, "sources", s.settings.name.as_str(), s.id.uuid()));
        let tokens = topology.tokens().map(|(_, token)| token);
        let tokens = tokens
            .filter(|_| !document.tokens.is_empty())
            .filter(|token| token.settings.name != ADMIN && token.id != principal.token().id)
            .map(|t| (Kind::Token, "tokens", t.settings.name.as_str(), t.id.uuid()));
        for (kind, list, name, id) in flows.chain(endpoints).chain(sources).chain(tokens) {
            if !named(list, name) {
                self.changes.push(Change::Delete { kind, id });
                let (name, fields) = (name.to_owned(), Vec::new());
                let kind = kind.as_str();
                self.applied.push(AppliedChange {
                    kind,
                    name,
                    action: "delete",
                    fields,
                    secret: None,
                });
            }
        }
    }
}

fn within(faults: Vec<Fault>, place: &str) -> Vec<Fault> {
    faults.into_iter().map(|fault| fault.within(place)).collect()
}
