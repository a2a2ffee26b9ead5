//! Common steps of changing the settings of sources, endpoints and flows.

use super::AppState;
use super::modules::exported_roles;
use super::problem::ApiProblem;
use crate::channels::module_channel::find_module;
use crate::model::config_schema::ConfigSchema;
use crate::model::endpoint::EndpointSettings;
use crate::model::fault::InputFault;
use crate::model::flow::{FlowModule, FlowSettings};
use crate::model::module_breaker::OpenBreakerAction;
use crate::model::secrets::SigningSecrets;
use crate::model::source::{SourceKind, SourceSettings};
use crate::settings::{SettingsSnapshot, sealed};
use crate::store::modules::ModuleVersion;
use crate::store::objects::{ObjectChange, ObjectKind, StoredObject};
use crate::time::timestamp::Timestamp;
use crate::wasm::ModuleRole;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Commits the changes and reloads the settings.
pub async fn commit_changes(app: &AppState, changes: &[ObjectChange]) -> Result<(), ApiProblem> {
    app.journal.change_objects(changes).await?;
    Ok(app.live.reload_settings().await?)
}

/// Fails if the settings have faults.
pub fn check_faults(faults: Vec<InputFault>) -> Result<(), ApiProblem> {
    if faults.is_empty() { Ok(()) } else { Err(ApiProblem::invalid(faults)) }
}

/// Builds a change that stores settings under an id.
pub fn put_object<S: Serialize>(
    kind: ObjectKind,
    name: &str,
    id: Uuid,
    settings: S,
    sealed: Option<Vec<u8>>,
    created_at: Timestamp,
) -> Result<ObjectChange, ApiProblem> {
    let object = StoredObject { id, settings, sealed, created_at, updated_at: created_at };
    ObjectChange::put(kind, name, &object).map_err(|error| {
        tracing::error!(%error, "settings cannot be written as JSON");
        ApiProblem::internal()
    })
}

/// Builds a change that stores settings under an id, with their secrets and private values
/// encrypted.
pub fn put_settings<S: Serialize>(
    app: &AppState,
    kind: ObjectKind,
    name: &str,
    id: Uuid,
    settings: &S,
    secrets: Option<&SigningSecrets>,
    created_at: Timestamp,
) -> Result<ObjectChange, ApiProblem> {
    let object = sealed::sealed_object(id, settings, created_at);
    sealed::put_sealed(app.live.sealer(), kind, name, &object, secrets).map_err(|error| {
        tracing::error!(%error, "settings cannot be stored");
        ApiProblem::internal()
    })
}

/// The known modules with their versions, and the active one of each.
#[derive(Debug, Default)]
pub struct KnownModules {
    versions: BTreeMap<String, BTreeMap<u32, KnownVersion>>,
    /// The active version. `None` for a module that will be uploaded.
    active: BTreeMap<String, Option<u32>>,
}

/// The known facts of a version. Nothing is known of a version that will be uploaded.
#[derive(Debug, Default)]
struct KnownVersion {
    /// The schema of its configuration, if it has one.
    schema: Option<ConfigSchema>,
    /// The exported roles. `None` if they are not known yet.
    roles: Option<Vec<ModuleRole>>,
}

impl KnownVersion {
    fn routes(&self) -> bool {
        self.roles.as_ref().is_some_and(|roles| roles.contains(&ModuleRole::Route))
    }
}

impl KnownModules {
    pub fn new(versions: &[ModuleVersion]) -> Self {
        let mut known = Self::default();
        for version in versions {
            let schema = version.manifest().and_then(|manifest| manifest.config);
            let roles = Some(exported_roles(version));
            let of_name = known.versions.entry(version.name.clone()).or_default();
            of_name.insert(version.version, KnownVersion { schema, roles });
            if version.active {
                known.activate(&version.name, Some(version.version));
            }
        }
        known
    }

    /// Adds a version, which may be uploaded later.
    pub fn add(&mut self, name: &str, version: Option<u32>, active: bool) {
        let of_name = self.versions.entry(name.to_owned()).or_default();
        if let Some(number) = version {
            of_name.entry(number).or_default();
        }
        if active {
            self.active.entry(name.to_owned()).or_insert(version);
        }
    }

    pub fn activate(&mut self, name: &str, version: Option<u32>) {
        self.active.insert(name.to_owned(), version);
    }

    /// Returns the faults of a flow's module that would make every event fail.
    fn check(&self, module: &FlowModule) -> Vec<InputFault> {
        let version = match self.find_version(module) {
            Ok(Some(version)) => version,
            Ok(None) => return Vec::new(),
            Err(fault) => return vec![fault],
        };
        let faults = check_config(version.schema.as_ref(), module).into_iter();
        let faults = faults.chain(check_pass(module, version.routes()));
        faults
            .chain(version.roles.as_ref().and_then(|roles| check_flow_roles(module, roles)))
            .collect()
    }

    /// Returns the faults of the module that an endpoint of kind `module` names. Their places are
    /// in the endpoint.
    pub fn check_endpoint(&self, endpoint: &EndpointSettings) -> Vec<InputFault> {
        let Some(module) = find_module(endpoint) else { return Vec::new() };
        let faults: Vec<InputFault> = match self.find_version(&module) {
            Ok(Some(version)) => {
                let role = version
                    .roles
                    .as_ref()
                    .and_then(|roles| check_role(&module, ModuleRole::Channel, roles));
                check_config(version.schema.as_ref(), &module).into_iter().chain(role).collect()
            }
            Ok(None) => Vec::new(),
            Err(fault) => vec![fault],
        };
        faults.into_iter().map(place_in_endpoint).collect()
    }

    /// Returns the faults of the module that makes a source's events. Their places are in the source.
    pub fn check_source(&self, source: &SourceSettings) -> Vec<InputFault> {
        let Some(module) = source.find_module() else { return Vec::new() };
        let faults: Vec<InputFault> = match self.find_version(&module) {
            Ok(Some(version)) => {
                let role = role_of_source(source);
                let role =
                    version.roles.as_ref().and_then(|roles| check_role(&module, role, roles));
                check_config(version.schema.as_ref(), &module).into_iter().chain(role).collect()
            }
            Ok(None) => Vec::new(),
            Err(fault) => vec![fault],
        };
        faults.into_iter().map(|fault| fault.within(source.module_place())).collect()
    }

    /// Returns the version that a module runs. `None` if nothing is known of it yet.
    fn find_version(&self, module: &FlowModule) -> Result<Option<&KnownVersion>, InputFault> {
        let number = self.find_number(module)?;
        let versions = self.versions.get(&module.name);
        Ok(number.and_then(|number| versions?.get(&number)))
    }

    /// Returns the version that a flow's module runs, if it is known.
    fn find_number(&self, module: &FlowModule) -> Result<Option<u32>, InputFault> {
        let name = &module.name;
        let Some(versions) = self.versions.get(name) else {
            let message = format!("there is no module `{name}`; upload it first");
            return Err(InputFault::new("name", message));
        };
        match (module.version, self.active.get(name)) {
            (Some(number), _) if !versions.contains_key(&number) => {
                let there: Vec<String> = versions.keys().map(u32::to_string).collect();
                let there = there.join(", ");
                let message = format!("module `{name}` has no version {number}; it has {there}");
                Err(InputFault::new("version", message))
            }
            (None, None) => {
                let message = format!(
                    "no version of module `{name}` is active; activate one first, or set `version`"
                );
                Err(InputFault::new("name", message))
            }
            (Some(number), _) => Ok(Some(number)),
            (None, Some(active)) => Ok(*active),
        }
    }
}

/// Returns the faults of a module's configuration.
pub fn check_config(schema: Option<&ConfigSchema>, module: &FlowModule) -> Vec<InputFault> {
    let faults = schema.map(|schema| schema.check_config(&module.config)).unwrap_or_default();
    faults.into_iter().map(|fault| fault.within("config")).collect()
}

/// Returns a fault if a flow would run a module that has no role for it.
pub fn check_flow_roles(module: &FlowModule, roles: &[ModuleRole]) -> Option<InputFault> {
    let has_none = !roles.is_empty() && !roles.iter().any(|role| role.is_of_flow());
    has_none.then(|| {
        let message = format!(
            "module `{}` has none of the roles `filter`, `transform` and `route`; use a `channel` in an endpoint of kind \
             `module`, a `source` in a webhook source, and a `puller` in a source of kind `module`",
            module.name
        );
        InputFault::new("name", message)
    })
}

/// Returns a fault if a module lacks the role that its user needs.
pub fn check_role(
    module: &FlowModule,
    role: ModuleRole,
    roles: &[ModuleRole],
) -> Option<InputFault> {
    let lacks = !roles.contains(&role);
    lacks.then(|| {
        let message = format!("module `{}` does not have the role `{role}`", module.name);
        InputFault::new("name", message)
    })
}

/// Returns the role that a source needs of its module.
pub const fn role_of_source(source: &SourceSettings) -> ModuleRole {
    match source.kind {
        SourceKind::Module => ModuleRole::Puller,
        SourceKind::Http
        | SourceKind::Webhook
        | SourceKind::Poll
        | SourceKind::Database
        | SourceKind::Schedule
        | SourceKind::Nats
        | SourceKind::Amqp => ModuleRole::Source,
    }
}

/// Returns the fault of an endpoint's module at its place in the endpoint.
pub fn place_in_endpoint(fault: InputFault) -> InputFault {
    let path = if fault.path == "name" { "module".to_owned() } else { fault.path };
    InputFault::new(path, fault.message).within("settings")
}

/// Returns a fault if a flow lets events pass a module that routes while its breaker is open.
pub fn check_pass(module: &FlowModule, routes: bool) -> Option<InputFault> {
    let is_wrong = routes && module.when_open == OpenBreakerAction::Pass;
    is_wrong.then(|| {
        let message = format!(
            "module `{}` routes, so events cannot pass without it: choose `dead_letter` or `park`",
            module.name
        );
        InputFault::new("when_open", message)
    })
}

/// Returns a fault for each object that a flow names and that does not exist.
pub fn check_flow(
    settings: &FlowSettings,
    has_endpoint: impl Fn(&str) -> bool,
    modules: &KnownModules,
) -> Vec<InputFault> {
    let mut faults = settings.check();
    for (n, name) in settings.endpoints.iter().enumerate().filter(|(_, name)| !has_endpoint(name)) {
        let message = format!("there is no endpoint `{name}`; create it first");
        faults.push(InputFault::new(format!("endpoints[{n}]"), message));
    }
    for (n, module) in settings.modules.iter().enumerate() {
        let found = modules.check(module).into_iter();
        faults.extend(found.map(|fault| fault.within(&format!("modules[{n}]"))));
    }
    faults
}

/// Returns the flows that name an endpoint.
pub fn flows_using(snapshot: &SettingsSnapshot, endpoint: &str) -> Vec<String> {
    let uses = |settings: &&FlowSettings| settings.endpoints.iter().any(|name| name == endpoint);
    let flows = snapshot.flows().iter().map(|route| &route.flow.settings);
    flows.filter(uses).map(|settings| settings.name.clone()).collect()
}

/// Applies the given fields over the settings. `null` restores the default.
pub fn merge_patch(
    current: Value,
    patch: Map<String, Value>,
) -> Result<Map<String, Value>, ApiProblem> {
    let Value::Object(mut merged) = current else { return Err(ApiProblem::internal()) };
    for (key, value) in patch {
        if value.is_null() {
            merged.remove(&key);
        } else {
            merged.insert(key, value);
        }
    }
    Ok(merged)
}
