//! What is set at present, made ready for use: sources, endpoints with their keys, flows with their
//! modules.
//!
//! Every stage reads it, none changes it. The API changes the journal and has it built anew; on
//! other nodes [`live::LiveSettings`] sees the version grow. Work under way keeps the topology it
//! began with.

pub mod endpoint_access;
pub mod endpoint_runtime;
pub mod live;
pub mod matching;
pub mod module_grants;
pub mod oauth_access;
pub mod sealed;
pub mod source_runtime;

use crate::access::token::{ApiToken, TokenDigest};
use crate::expression::WhereCondition;
use crate::expression::event_subject::EventSubject;
use crate::metrics::{FlowFigures, ModuleFigures};
use crate::model::capability_grants::CapabilityGrants;
use crate::model::flow::{Flow, FlowModule, ModuleConfig};
use crate::model::id::{EndpointId, FlowId, GrantId, TokenId};
use crate::model::record_fields::IndexedFields;
use crate::model::source::Source;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::settings::source_runtime::SourceRuntime;
use crate::signing::usable_secret::UsableSecrets;
use crate::store::prefetch::FlowLane;
use crate::time::timestamp::Timestamp;
use crate::wasm::LoadedModule;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Everything that is set, at one version.
#[derive(Debug)]
pub struct SettingsSnapshot {
    /// Its version in the journal.
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
    /// Short-lived tokens that were revoked before their end.
    revoked: HashSet<GrantId>,
    matches: matching::MatchCache,
    /// Fields of records that modules find them by.
    pub indexed: IndexedFields,
}

/// A flow with its endpoints and modules at hand.
#[derive(Debug)]
pub struct FlowRuntime {
    pub flow: Flow,
    /// Which events it takes; all where it is `None`.
    pub condition: Option<WhereCondition>,
    /// Its endpoints, in its order; those that do not exist are left out.
    pub endpoints: Vec<Arc<EndpointRuntime>>,
    /// Its modules, in its order.
    pub modules: Vec<ModuleStage>,
    /// Whether its modules' configuration cannot be read with the present key.
    pub locked: bool,
    /// Its queue in memory.
    pub lane: Arc<FlowLane>,
    /// What is counted of it.
    pub figures: Arc<FlowFigures>,
}

/// One module of a flow.
#[derive(Debug)]
pub struct ModuleStage {
    /// As the flow names it.
    pub settings: FlowModule,
    /// What the module reads through its `config` interface.
    pub config: Arc<ModuleConfig>,
    /// What else it may call; `None` where nothing else is granted.
    pub grants: Option<Arc<CapabilityGrants>>,
    /// The secrets that it is granted and that there are.
    pub secrets: Arc<UsableSecrets>,
    /// The version that runs; an error says why none does.
    pub module: Result<(u32, LoadedModule), ModuleUnusable>,
    /// How many of the flow's events may be in the module, or wait for it, at once: so that those
    /// of another flow with the same module come in between.
    pub share: Semaphore,
    /// What is counted of the module.
    pub figures: Arc<ModuleFigures>,
}

/// Why a module does not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleUnusable {
    /// There is no such version, or it cannot be used: the operator has to act.
    #[error("{0}")]
    Missing(String),
    /// The host or its database is at fault, as with a full disk: it is loaded again later.
    #[error("it could not be loaded: {0}")]
    NotLoaded(String),
}

impl FlowRuntime {
    /// Whether one of its modules may remember.
    pub fn remembers(&self) -> bool {
        let remembers = |stage: &ModuleStage| {
            stage.grants.as_ref().is_some_and(|grants| grants.state.is_some())
        };
        self.modules.iter().any(remembers)
    }

    /// Why it does not take an event, in words for the trace.
    pub fn find_refusal(&self, subject: &EventSubject<'_>) -> Option<String> {
        let reason = self.condition.as_ref()?.judge(subject).into_reason()?;
        Some(format!("flow `{}`: {reason}", self.flow.settings.name))
    }

    /// Whether one of its endpoints keeps the order of a record's events.
    pub fn keeps_order(&self) -> bool {
        self.endpoints.iter().any(|target| target.endpoint.settings.ordered)
    }
}

impl SettingsSnapshot {
    /// The token of a digest.
    pub fn find_token(&self, digest: &TokenDigest) -> Option<&Arc<ApiToken>> {
        self.tokens.get(digest)
    }

    /// The token with an id, and its digest.
    pub fn token_with_id(&self, id: TokenId) -> Option<(&TokenDigest, &Arc<ApiToken>)> {
        self.token_ids.get(&id).and_then(|digest| self.tokens.get_key_value(digest))
    }

    /// Whether a short-lived token was revoked.
    pub fn is_revoked(&self, grant: GrantId) -> bool {
        self.revoked.contains(&grant)
    }

    /// All tokens.
    pub fn tokens(&self) -> impl Iterator<Item = (&TokenDigest, &Arc<ApiToken>)> {
        self.tokens.iter()
    }

    /// The source of a name.
    pub fn find_source(&self, name: &str) -> Option<&Source> {
        self.sources.get(name).map(|inlet| &inlet.source)
    }

    /// All sources.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.sources.values().map(|inlet| &inlet.source)
    }

    /// The source of a name, made ready.
    pub fn find_source_runtime(&self, name: &str) -> Option<&Arc<SourceRuntime>> {
        self.sources.get(name)
    }

    /// All sources, made ready.
    pub fn source_runtimes(&self) -> impl Iterator<Item = &Arc<SourceRuntime>> {
        self.sources.values()
    }

    /// The endpoint with an id.
    pub fn find_endpoint(&self, id: EndpointId) -> Option<&Arc<EndpointRuntime>> {
        self.endpoints.get(&id)
    }

    /// The endpoint of a name.
    pub fn endpoint_named(&self, name: &str) -> Option<&Arc<EndpointRuntime>> {
        self.endpoint_names.get(name).and_then(|id| self.endpoints.get(id))
    }

    /// All endpoints, by name.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<EndpointRuntime>> {
        self.endpoint_names.values().filter_map(|id| self.endpoints.get(id))
    }

    /// The flow with an id.
    pub fn find_flow(&self, id: FlowId) -> Option<&Arc<FlowRuntime>> {
        self.flows.iter().find(|route| route.flow.id == id)
    }

    /// Whether the host could not load a module of a flow.
    fn lacks_modules(&self) -> bool {
        let is_lacking =
            |stage: &ModuleStage| matches!(stage.module, Err(ModuleUnusable::NotLoaded(_)));
        self.flows.iter().any(|route| route.modules.iter().any(is_lacking))
    }

    /// All secrets of modules, by name.
    pub const fn secrets(&self) -> &UsableSecrets {
        &self.secrets
    }

    /// All flows, by name.
    pub fn flows(&self) -> &[Arc<FlowRuntime>] {
        &self.flows
    }
}
