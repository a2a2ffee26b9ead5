//! A snapshot of the settings, prepared for use: sources, endpoints with their keys, flows with
//! their modules.
//!
//! Every stage reads it and none changes it. The API changes the store and reloads the snapshot; on
//! other nodes [`live::LiveSettings`] notices the new version. Running work keeps the snapshot with
//! which it began.

pub mod emitted_facts;
pub mod endpoint_access;
pub mod endpoint_runtime;
pub mod live;
pub mod matching;
pub mod module_breakers;
pub mod module_grants;
pub mod module_logs;
pub mod module_trials;
pub mod oauth_access;
pub mod sealed;
pub mod settings_copy;
pub mod source_runtime;
pub mod stage_calls;

use crate::access::token::{ApiToken, TokenDigest};
use crate::channels::EndpointChannel;
use crate::channels::module_channel::{BoundChannel, ModuleReceiver};
use crate::expression::WhereCondition;
use crate::expression::event_subject::EventSubject;
use crate::metrics::{FlowFigures, ModuleFigures, VersionFigures};
use crate::model::capability_grants::CapabilityGrants;
use crate::model::endpoint::Endpoint;
use crate::model::flow::{Flow, FlowModule, ModuleConfig};
use crate::model::id::{EndpointId, FlowId, GrantId, TokenId};
use crate::model::module_breaker::OpenBreakerAction;
use crate::model::record_fields::IndexedFields;
use crate::model::source::Source;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::settings::module_breakers::ModuleBreaker;
use crate::settings::module_logs::ModuleLog;
use crate::settings::module_trials::{KnownTrial, TrialStage};
use crate::settings::source_runtime::SourceRuntime;
use crate::signing::usable_secret::UsableSecrets;
use crate::store::prefetch::FlowLane;
use crate::time::timestamp::Timestamp;
use crate::wasm::{LoadedModule, ModuleRole};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// All settings at one version.
#[derive(Debug)]
pub struct SettingsSnapshot {
    /// The version in the store.
    pub version: i64,
    built_at: Timestamp,
    sources: HashMap<String, Arc<SourceRuntime>>,
    endpoints: HashMap<EndpointId, Arc<EndpointRuntime>>,
    endpoint_names: BTreeMap<String, EndpointId>,
    flows: Vec<Arc<FlowRuntime>>,
    /// Secrets that modules use by name.
    secrets: UsableSecrets,
    tokens: HashMap<TokenDigest, Arc<ApiToken>>,
    token_ids: HashMap<TokenId, TokenDigest>,
    /// Short-lived tokens that were revoked before they expired.
    revoked: HashSet<GrantId>,
    matches: matching::MatchCache,
    /// Fields of records that modules use for lookups.
    pub indexed: IndexedFields,
    /// Trials of module versions, running or ended.
    trials: Vec<KnownTrial>,
}

/// A flow with its endpoints and modules.
#[derive(Debug)]
pub struct FlowRuntime {
    pub flow: Flow,
    /// The flow's `where`. `None` accepts all events.
    pub condition: Option<WhereCondition>,
    /// The flow's endpoints, in its order, without those that do not exist.
    pub endpoints: Vec<Arc<EndpointRuntime>>,
    /// The flow's modules, in its order.
    pub modules: Vec<ModuleStage>,
    /// Whether the configuration of its modules cannot be decrypted with the present key.
    pub locked: bool,
    pub lane: Arc<FlowLane>,
    pub figures: Arc<FlowFigures>,
}

/// One module of a flow.
#[derive(Debug)]
pub struct ModuleStage {
    /// The module's entry in the flow.
    pub settings: FlowModule,
    /// The configuration that the module reads through its `config` interface.
    pub config: Arc<ModuleConfig>,
    /// Further capabilities of the module. `None` if it has none.
    pub grants: Option<Arc<CapabilityGrants>>,
    /// The granted secrets that exist.
    pub secrets: Arc<UsableSecrets>,
    /// The running version, or why none runs.
    pub module: Result<(u32, LoadedModule), ModuleUnusable>,
    /// Most events of the flow that may be in the module, or wait for it, at the same time. This
    /// lets events of another flow with the same module come in between.
    pub share: Semaphore,
    pub figures: Arc<ModuleFigures>,
    /// The figures of the version. `None` if no version runs.
    pub version_figures: Option<Arc<VersionFigures>>,
    /// The breaker of the version. `None` if no version runs.
    pub breaker: Option<Arc<ModuleBreaker>>,
    /// The latest log lines of the module on this node.
    pub log: Arc<ModuleLog>,
    /// Another version that is tried on the events of this stage.
    pub trial: Option<Box<TrialStage>>,
}

/// The reason why a module does not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleUnusable {
    /// The version does not exist or cannot be used. The operator has to act.
    #[error("{0}")]
    Missing(String),
    /// The host or its database is at fault, for example because of a full disk. The module is
    /// loaded again later.
    #[error("it could not be loaded: {0}")]
    NotLoaded(String),
}

impl ModuleStage {
    /// Returns what happens to events while the module's breaker is open. Events cannot pass a
    /// version that routes, even if the flow says so because another version does not.
    pub fn when_open(&self) -> OpenBreakerAction {
        let routes = |module: &LoadedModule| module.report().exports.contains(&ModuleRole::Route);
        match (self.settings.when_open, &self.module) {
            (OpenBreakerAction::Pass, Ok((_, module))) if routes(module) => {
                OpenBreakerAction::DeadLetter
            }
            (action, _) => action,
        }
    }
}

impl ModuleStage {
    /// Opens the channel of an endpoint that the module delivers for.
    fn open_channel(&self, endpoint: &Endpoint, plain_http: &[String]) -> EndpointChannel {
        let (version, module) = match &self.module {
            Ok((version, module)) => (*version, module.clone()),
            Err(ModuleUnusable::Missing(why)) => {
                return EndpointChannel::Waiting { why: why.clone(), is_loading: false };
            }
            Err(why @ ModuleUnusable::NotLoaded(_)) => {
                let why = format!("module `{}`: {why}", self.settings.name);
                return EndpointChannel::Waiting { why, is_loading: true };
            }
        };
        let bound = BoundChannel {
            name: self.settings.name.clone(),
            version,
            module,
            config: Arc::clone(&self.config),
            grants: self.grants.clone().unwrap_or_default(),
            secrets: Arc::clone(&self.secrets),
            plain_http: plain_http.into(),
            figures: Arc::clone(&self.figures),
            version_figures: self.version_figures.clone(),
        };
        ModuleReceiver::open(&endpoint.settings, bound)
    }
}

impl FlowRuntime {
    /// Returns whether one of its modules may use state. A shadow counts for nothing here, because
    /// it changes no state and must not slow the flow down.
    pub fn remembers(&self) -> bool {
        let remembers = |stage: &ModuleStage| {
            stage.grants.as_ref().is_some_and(|grants| grants.state.is_some())
        };
        let trials = self.modules.iter().filter_map(|stage| stage.trial.as_deref());
        let canaries = trials.filter(|trial| trial.is_canary()).map(|trial| &trial.stage);
        self.modules.iter().chain(canaries).any(remembers)
    }

    /// Returns the stages of its modules, and those of versions on trial.
    pub fn all_stages(&self) -> impl Iterator<Item = &ModuleStage> {
        let trials = self.modules.iter().filter_map(|stage| stage.trial.as_deref());
        self.modules.iter().chain(trials.map(|trial| &trial.stage))
    }

    /// Returns whether its events now wait for the breaker of one of its modules.
    pub fn is_parked(&self, now: Timestamp) -> bool {
        let parks =
            self.modules.iter().filter(|stage| stage.when_open() == OpenBreakerAction::Park);
        parks.filter_map(|stage| stage.breaker.as_ref()).any(|breaker| breaker.holds_back(now))
    }

    /// Returns since when the breaker of one of its modules has been open on this node, and why.
    pub fn find_open_breaker(&self) -> Option<(Timestamp, String)> {
        let breakers = self.modules.iter().filter_map(|stage| stage.breaker.as_ref());
        let open =
            |breaker: &Arc<ModuleBreaker>| Some((breaker.open_since()?, breaker.tell_state()));
        breakers.filter_map(open).min_by_key(|(since, _)| *since)
    }

    /// Returns why the flow refuses an event, in words for the trace.
    pub fn find_refusal(&self, subject: &EventSubject<'_>) -> Option<String> {
        let reason = self.condition.as_ref()?.judge(subject).into_reason()?;
        Some(format!("flow `{}`: {reason}", self.flow.settings.name))
    }

    /// Returns whether one of its endpoints keeps the order of a record's events.
    pub fn keeps_order(&self) -> bool {
        self.endpoints.iter().any(|target| target.endpoint.settings.ordered)
    }
}

impl SettingsSnapshot {
    /// Returns the token with a digest.
    pub fn find_token(&self, digest: &TokenDigest) -> Option<&Arc<ApiToken>> {
        self.tokens.get(digest)
    }

    /// Returns the token with an id, and its digest.
    pub fn token_with_id(&self, id: TokenId) -> Option<(&TokenDigest, &Arc<ApiToken>)> {
        self.token_ids.get(&id).and_then(|digest| self.tokens.get_key_value(digest))
    }

    /// Returns whether a short-lived token was revoked.
    pub fn is_revoked(&self, grant: GrantId) -> bool {
        self.revoked.contains(&grant)
    }

    pub fn tokens(&self) -> impl Iterator<Item = (&TokenDigest, &Arc<ApiToken>)> {
        self.tokens.iter()
    }

    pub fn find_source(&self, name: &str) -> Option<&Source> {
        self.sources.get(name).map(|runtime| &runtime.source)
    }

    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.sources.values().map(|runtime| &runtime.source)
    }

    /// Returns the prepared source with a name.
    pub fn find_source_runtime(&self, name: &str) -> Option<&Arc<SourceRuntime>> {
        self.sources.get(name)
    }

    pub fn source_runtimes(&self) -> impl Iterator<Item = &Arc<SourceRuntime>> {
        self.sources.values()
    }

    pub fn find_endpoint(&self, id: EndpointId) -> Option<&Arc<EndpointRuntime>> {
        self.endpoints.get(&id)
    }

    pub fn endpoint_named(&self, name: &str) -> Option<&Arc<EndpointRuntime>> {
        self.endpoint_names.get(name).and_then(|id| self.endpoints.get(id))
    }

    /// Returns all endpoints, by name.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<EndpointRuntime>> {
        self.endpoint_names.values().filter_map(|id| self.endpoints.get(id))
    }

    pub fn find_flow(&self, id: FlowId) -> Option<&Arc<FlowRuntime>> {
        self.flows.iter().find(|route| route.flow.id == id)
    }

    /// Returns the stages of the modules of flows and sources.
    pub fn module_stages(&self) -> impl Iterator<Item = &ModuleStage> {
        let of_sources = self.sources.values().filter_map(|runtime| runtime.module.as_ref());
        self.flows.iter().flat_map(|flow| flow.all_stages()).chain(of_sources)
    }

    /// Returns whether the host could not load a module of a flow, a source or an endpoint.
    fn lacks_modules(&self) -> bool {
        let is_lacking =
            |stage: &ModuleStage| matches!(stage.module, Err(ModuleUnusable::NotLoaded(_)));
        self.module_stages().any(is_lacking)
            || self.endpoints.values().any(|target| target.is_loading())
    }

    /// Returns the trials of module versions, running or ended.
    pub fn trials(&self) -> &[KnownTrial] {
        &self.trials
    }

    /// Returns all secrets of modules, by name.
    pub const fn secrets(&self) -> &UsableSecrets {
        &self.secrets
    }

    /// Returns all flows, by name.
    pub fn flows(&self) -> &[Arc<FlowRuntime>] {
        &self.flows
    }
}
