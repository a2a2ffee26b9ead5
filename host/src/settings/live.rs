//! The current settings, and their reload after a change.

use super::sealed::{self, OpenedSettings};
use super::{FlowRuntime, ModuleStage, ModuleUnusable, SettingsSnapshot, matching};
use crate::access::token::{ApiToken, StoredToken, TokenActivity, TokenDigest};
use crate::channels::EndpointChannel;
use crate::channels::module_channel::find_module;
use crate::crypto::seal::SecretSealer;
use crate::error_chain::error_chain;
use crate::expression::WhereCondition;
use crate::model::api_call::TokenUsage;
use crate::model::capability_grants::CapabilityGrants;
use crate::model::endpoint::{Endpoint, EndpointSettings};
use crate::model::endpoint_auth::EndpointAuth;
use crate::model::flow::{Flow, FlowModule, FlowSettings};
use crate::model::grant_policy::GrantPolicy;
use crate::model::id::{EndpointId, FlowId, GrantId, ModuleSecretId, SourceId, TokenId};
use crate::model::module_breaker::BreakerLimits;
use crate::model::module_secret::{ModuleSecret, ModuleSecretSettings};
use crate::model::private_values::MASK;
use crate::model::record_fields::IndexedFields;
use crate::model::source::{Source, SourceSettings};
use crate::settings::endpoint_runtime::{EndpointDefaults, EndpointRuntime};
use crate::settings::module_breakers::BreakerBook;
use crate::settings::module_grants::usable_grants;
use crate::settings::module_logs::LogBook;
use crate::settings::module_trials::{KnownTrial, TrialBook, TrialStage};
use crate::settings::oauth_access::RotatedToken;
use crate::settings::settings_copy::SettingsCopy;
use crate::settings::source_runtime::{SourceHealth, SourceRuntime};
use crate::signing::usable_secret::{UsableSecret, UsableSecrets};
use crate::store;
use crate::store::modules::ModuleVersion;
use crate::store::objects::{ObjectKind, StoredObject, log_unreadable};
use crate::store::{ClusterLock, EventStore};
use crate::time::timestamp::Timestamp;
use crate::wasm;
use arc_swap::{ArcSwap, ArcSwapOption};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::error::Error;
use std::mem;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore, watch};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The current settings. Clones are cheap.
#[derive(Debug, Clone)]
pub struct LiveSettings {
    inner: Arc<LiveInner>,
}

#[derive(Debug)]
struct LiveInner {
    current: ArcSwap<SettingsSnapshot>,
    journal: EventStore,
    sealer: SecretSealer,
    defaults: EndpointDefaults,
    engine: wasm::ModuleEngine,
    cache: wasm::ModuleCache,
    /// Decides which capabilities modules get.
    policy: GrantPolicy,
    /// The breakers of modules, which survive changes of the settings.
    breakers: BreakerBook,
    /// The logs of modules, which survive changes of the settings.
    module_logs: LogBook,
    /// The counts of trials, which survive changes of the settings.
    trials: TrialBook,
    loaded: Mutex<LoadedModules>,
    /// Usage of tokens, which survives changes of the settings.
    usages: std::sync::Mutex<HashMap<TokenId, Arc<TokenActivity>>>,
    /// Informs requests that have not begun that the settings have changed.
    changes: watch::Sender<i64>,
    /// Counts requests from the choice of their settings until they begin. Each change starts a new
    /// count, so that it waits only for requests that have not seen it.
    beginning: std::sync::Mutex<TaskTracker>,
    /// Lets one request at a time change the settings.
    editing: Arc<Mutex<()>>,
    /// Health of sources, which survives changes of the settings.
    healths: std::sync::Mutex<HashMap<SourceId, Arc<SourceHealth>>>,
    /// The copy that stands for the store until the database answers for the first time.
    copy: ArcSwapOption<SettingsCopy>,
    /// The version of the copy on this node's disk, and when it was current.
    copy_mark: std::sync::Mutex<Option<(i64, Timestamp)>>,
}

/// Longest time that a change waits for requests that have not begun. They are informed and only
/// have to react.
const WITHDRAWAL: Duration = Duration::from_secs(5);
/// Time after which modules that could not be loaded are loaded again.
const LOAD_AGAIN: Duration = Duration::from_secs(10);

/// Modules that are ready to run, by their SHA-256.
type LoadedModules = HashMap<[u8; 32], wasm::LoadedModule>;

/// What is known of modules when the settings are loaded.
#[derive(Debug, Clone, Copy)]
struct KnownVersions<'k> {
    versions: &'k [ModuleVersion],
    /// The versions that are tried on live events.
    trials: &'k [KnownTrial],
    secrets: &'k UsableSecrets,
    /// The modules that were loaded before.
    loaded: &'k LoadedModules,
}

/// The operator's rules for all modules.
#[derive(Debug, Clone, Copy)]
pub struct ModuleRules {
    pub policy: GrantPolicy,
    pub breaker: BreakerLimits,
}

/// The settings of a request that has not begun yet.
#[derive(Debug)]
pub struct RequestBeginning {
    /// The endpoint with its settings.
    pub target: Arc<EndpointRuntime>,
    changes: watch::Receiver<i64>,
    live: LiveSettings,
    counted: TaskTrackerToken,
}

impl RequestBeginning {
    /// Completes when the endpoint's settings change, so that the request must not begin any more.
    /// The caller drops this when the request begins.
    pub async fn withdrawn(mut self) {
        while self.changes.changed().await.is_ok() {
            // The order matters: a change that comes in between finds the request counted, and
            // waits until the request notices it here. A change of another endpoint does not wait
            // for a connection. It once waited 5 s of the 10 s during which a host that swallows
            // SYNs is dialled.
            let counted = self.live.count_request();
            let current = self.live.sendable(self.target.endpoint.id);
            if current.is_none_or(|current| !current.is_set_like(&self.target)) {
                return;
            }
            drop(mem::replace(&mut self.counted, counted));
        }
    }
}

/// The right to change the settings.
#[derive(Debug)]
pub struct EditTurn {
    // Released first, because a request that waits on this node takes it next.
    _everywhere: Option<ClusterLock>,
    _here: OwnedMutexGuard<()>,
}

/// The reason why the settings cannot be loaded or stored.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The store cannot be read.
    #[error("the configuration cannot be read from the database")]
    Journal(#[from] store::StoreError),
    /// The settings cannot be stored.
    #[error(transparent)]
    Store(#[from] sealed::SealSettingsError),
}

impl LiveSettings {
    /// Loads the settings for the first time: from the store, or from a copy while the database is
    /// away.
    pub async fn open(
        journal: EventStore,
        sealer: SecretSealer,
        defaults: EndpointDefaults,
        (engine, cache): (wasm::ModuleEngine, wasm::ModuleCache),
        rules: ModuleRules,
        copy: Option<SettingsCopy>,
    ) -> Result<Self, SettingsError> {
        let empty = SettingsSnapshot {
            version: 0,
            built_at: Timestamp::default(),
            sources: HashMap::new(),
            endpoints: HashMap::new(),
            endpoint_names: BTreeMap::new(),
            flows: Vec::new(),
            secrets: BTreeMap::new(),
            tokens: HashMap::new(),
            token_ids: HashMap::new(),
            revoked: HashSet::new(),
            matches: matching::MatchCache::default(),
            indexed: IndexedFields::default(),
            trials: Vec::new(),
        };
        let usages = if copy.is_none() {
            sealed::seal_plain(&journal, &sealer).await?;
            journal.list_token_usages().await?
        } else {
            Vec::new()
        };
        let usages = usages.into_iter();
        let usages =
            usages.map(|usage| (usage.token, Arc::new(TokenActivity::restored(usage)))).collect();
        let copy_mark = copy.as_ref().map(|copy| (copy.version, copy.saved_at()));
        let inner = LiveInner {
            current: ArcSwap::from_pointee(empty),
            journal,
            sealer,
            defaults,
            engine,
            cache,
            policy: rules.policy,
            breakers: BreakerBook::new(rules.breaker),
            module_logs: LogBook::default(),
            trials: TrialBook::default(),
            loaded: Mutex::default(),
            usages: std::sync::Mutex::new(usages),
            healths: std::sync::Mutex::default(),
            changes: watch::Sender::new(0),
            beginning: std::sync::Mutex::default(),
            editing: Arc::default(),
            copy: ArcSwapOption::new(copy.map(Arc::new)),
            copy_mark: std::sync::Mutex::new(copy_mark),
        };
        let live = Self { inner: Arc::new(inner) };
        live.reload_settings().await?;
        live.report_locked();
        Ok(live)
    }

    /// Logs which secrets cannot be decrypted with the present key. The server starts all the same,
    /// because other settings do not need them.
    fn report_locked(&self) {
        let snapshot = self.current_settings();
        let endpoints = snapshot.endpoints().filter(|target| target.is_locked());
        let endpoints = endpoints.map(|t| ("endpoint", t.endpoint.settings.name.as_str()));
        let sources = snapshot.source_runtimes().filter(|runtime| runtime.locked);
        let sources = sources.map(|runtime| ("source", runtime.source.settings.name.as_str()));
        let flows = snapshot.flows().iter().filter(|route| route.locked);
        let flows = flows.map(|route| ("flow", route.flow.settings.name.as_str()));
        let secrets = snapshot.secrets().values().filter(|secret| secret.is_locked());
        let secrets = secrets.map(|s| ("module secret", s.secret.settings.name.as_str()));
        for (kind, name) in endpoints.chain(sources).chain(flows).chain(secrets) {
            tracing::error!(
                kind,
                name,
                "its secrets cannot be read with this key: enter them again, or start with the WAYBILL_SECRET_KEY or key file they were stored with"
            );
        }
    }

    /// Loads the settings from the store, which now answers, in the place of the copy.
    pub async fn leave_copy(&self) -> Result<(), SettingsError> {
        sealed::seal_plain(&self.inner.journal, &self.inner.sealer).await?;
        let copy = self.inner.copy.swap(None);
        let loaded = self.reload_settings().await;
        if loaded.is_err() {
            self.inner.copy.store(copy);
        }
        loaded
    }

    /// Returns the version of the copy on this node's disk, and when it was current.
    pub fn copy_mark(&self) -> Option<(i64, Timestamp)> {
        *self.inner.copy_mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a copy was written.
    pub fn note_copy(&self, version: i64, saved_at: Timestamp) {
        let mark = Some((version, saved_at));
        *self.inner.copy_mark.lock().unwrap_or_else(PoisonError::into_inner) = mark;
    }

    /// Returns all readable objects of a kind, by name.
    async fn list_objects<S: DeserializeOwned + Send + 'static>(
        &self,
        kind: ObjectKind,
    ) -> Result<Vec<StoredObject<S>>, SettingsError> {
        match self.inner.copy.load_full() {
            Some(copy) => Ok(copy.list_objects(kind)),
            None => Ok(self.inner.journal.list_objects(kind).await?),
        }
    }

    pub fn current_settings(&self) -> Arc<SettingsSnapshot> {
        self.inner.current.load_full()
    }

    /// Returns the cipher for stored secrets.
    pub fn sealer(&self) -> &SecretSealer {
        &self.inner.sealer
    }

    pub fn engine(&self) -> &wasm::ModuleEngine {
        &self.inner.engine
    }

    /// Returns the breakers of the modules that flows run.
    pub fn breakers(&self) -> &BreakerBook {
        &self.inner.breakers
    }

    /// Returns the logs of the modules that flows run.
    pub fn module_logs(&self) -> &LogBook {
        &self.inner.module_logs
    }

    /// Returns the hosts to which modules may send plain HTTP.
    pub fn module_plain_http(&self) -> &[String] {
        &self.inner.defaults.module_plain_http
    }

    /// Returns the trials of module versions.
    pub fn trials(&self) -> &TrialBook {
        &self.inner.trials
    }

    /// Returns the cache of compiled modules.
    pub fn cache(&self) -> &wasm::ModuleCache {
        &self.inner.cache
    }

    /// Waits until no other request is changing the settings, on this node or another. The caller
    /// must hold the turn from reading the current settings until the change is stored. A node of
    /// an earlier version does not take turns; its changes are detected when this change is stored
    /// ([`ObjectChange::replacing`](crate::store::objects::ObjectChange::replacing)).
    pub async fn take_edit_turn(&self) -> Result<EditTurn, SettingsError> {
        // The local lock comes first, so that at most one request of a node waits for the others.
        let here = Arc::clone(&self.inner.editing).lock_owned().await;
        let everywhere = self.inner.journal.lock_settings().await?;
        self.refresh_if_newer().await?;
        Ok(EditTurn { _everywhere: everywhere, _here: here })
    }

    /// Reloads the settings if the store has a newer version, or if a module that could not be
    /// loaded may be loaded now.
    pub async fn refresh_if_newer(&self) -> Result<(), SettingsError> {
        let current = self.current_settings();
        let is_old = current.built_at.after(LOAD_AGAIN) <= self.inner.journal.clock().now();
        let is_current = self.inner.journal.read_settings_version().await? == current.version;
        if is_current && !(is_old && current.lacks_modules()) {
            return Ok(());
        }
        self.reload_settings().await
    }

    /// Reloads the settings.
    pub async fn reload_settings(&self) -> Result<(), SettingsError> {
        // One reload at a time, so that an older one never replaces a newer one.
        let mut loaded = self.inner.loaded.lock().await;
        let version = match self.inner.copy.load_full() {
            Some(copy) => copy.version,
            None => self.inner.journal.read_settings_version().await?,
        };
        let secrets = self.secrets().await?;
        // Read once, so that the active version and the one on trial are of the same moment.
        let versions = match self.inner.copy.load_full() {
            Some(_) => Vec::new(),
            None => self.inner.journal.list_modules().await?,
        };
        let trials = self.inner.trials.open_trials(&versions);
        let mut in_use = HashMap::new();
        let known = KnownVersions {
            versions: &versions,
            trials: &trials,
            secrets: &secrets,
            loaded: &loaded,
        };
        // Boxed because these futures are large, and settings are rarely loaded.
        let sources = Box::pin(self.sources(known, &mut in_use)).await?;
        let endpoints = Box::pin(self.endpoints(known, &mut in_use)).await?;
        let endpoint_names =
            endpoints.values().map(|t| (t.endpoint.settings.name.clone(), t.endpoint.id)).collect();
        let flows = Box::pin(self.flows((&endpoints, &endpoint_names), known, &mut in_use)).await?;
        *loaded = in_use;
        let tokens = self.tokens().await?;
        let token_ids = tokens.iter().map(|(digest, token)| (token.id, *digest)).collect();
        let revoked = self.list_objects::<IgnoredAny>(ObjectKind::RevokedGrant).await?;
        let stages = flows.iter().flat_map(|flow| flow.all_stages());
        let indexed = IndexedFields::of(stages.filter_map(|stage| stage.grants.as_deref()));
        let snapshot = SettingsSnapshot {
            version,
            built_at: self.inner.journal.clock().now(),
            sources,
            endpoints,
            endpoint_names,
            flows,
            secrets,
            tokens,
            token_ids,
            revoked: revoked.into_iter().map(|object| GrantId::from_uuid(object.id)).collect(),
            matches: matching::MatchCache::default(),
            indexed,
            trials,
        };
        self.inner.journal.prefetch().keep_flow_lanes(|flow| snapshot.find_flow(flow).is_some());
        for lane in self.inner.journal.prefetch().lanes() {
            if snapshot.find_endpoint(lane.endpoint).is_none() {
                self.inner.journal.prefetch().remove_lane(lane.endpoint);
            }
        }
        let stages: Vec<&ModuleStage> = snapshot.module_stages().collect();
        self.inner.breakers.keep_used(&stages);
        self.inner.module_logs.keep_used(&stages);
        self.inner.current.store(Arc::new(snapshot));
        self.withdraw_old(version).await;
        Ok(())
    }

    /// Waits until every request with older settings has begun or has given them up, so that none
    /// begins with them after the change was acknowledged.
    async fn withdraw_old(&self, version: i64) {
        // This comes before the requests are informed, because a request that has the new settings
        // need not be waited for.
        let older = self.count_anew();
        self.inner.changes.send_replace(version);
        older.close();
        if tokio::time::timeout(WITHDRAWAL, older.wait()).await.is_err() {
            tracing::warn!("a waiting request did not adopt the new settings in time");
        }
    }

    /// Counts a request until it begins or gives up its settings.
    fn count_request(&self) -> TaskTrackerToken {
        self.inner.beginning.lock().unwrap_or_else(PoisonError::into_inner).token()
    }

    /// Starts a new count and returns the old one.
    fn count_anew(&self) -> TaskTracker {
        mem::take(&mut *self.inner.beginning.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the settings of an endpoint for a request that is about to begin, or `None` if the
    /// endpoint is deleted or disabled.
    pub fn begin(&self, endpoint: EndpointId) -> Option<RequestBeginning> {
        // The order matters: a change stores the settings, starts a new count, informs the
        // requests, and then waits for the old count. So either the settings read below are new, or
        // the change waits for this request and `changes` informs it.
        let counted = self.count_request();
        let changes = self.inner.changes.subscribe();
        let target = self.sendable(endpoint)?;
        Some(RequestBeginning { target, changes, live: self.clone(), counted })
    }

    /// Returns the endpoint if deliveries may be sent to it.
    pub fn sendable(&self, endpoint: EndpointId) -> Option<Arc<EndpointRuntime>> {
        let target = self.inner.current.load().find_endpoint(endpoint).cloned();
        target.filter(|target| target.may_send())
    }

    /// Returns a channel that reports changes of the settings.
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.inner.changes.subscribe()
    }

    async fn tokens(&self) -> Result<HashMap<TokenDigest, Arc<ApiToken>>, SettingsError> {
        let objects: Vec<StoredObject<StoredToken>> = self.list_objects(ObjectKind::Token).await?;
        let mut usages = self.inner.usages.lock().unwrap_or_else(PoisonError::into_inner);
        let ids: HashSet<TokenId> = objects.iter().map(|o| TokenId::from_uuid(o.id)).collect();
        usages.retain(|id, _| ids.contains(id));
        let token = |object: StoredObject<StoredToken>| {
            let id = TokenId::from_uuid(object.id);
            let usage = Arc::clone(usages.entry(id).or_default());
            let (made, changed) = (object.created_at, object.updated_at);
            let (digest, token) = ApiToken::new(id, object.settings, made, changed, usage)?;
            Some((digest, Arc::new(token)))
        };
        Ok(objects.into_iter().filter_map(token).collect())
    }

    /// Returns the usage of tokens since the last call.
    pub fn fresh_usages(&self) -> Vec<TokenUsage> {
        let usages = self.inner.usages.lock().unwrap_or_else(PoisonError::into_inner);
        usages.iter().filter_map(|(id, usage)| usage.take_fresh(*id)).collect()
    }

    /// Returns the health of a source. Forgets that of sources which do not exist.
    fn find_health(&self, id: SourceId, ids: &HashSet<SourceId>) -> Arc<SourceHealth> {
        let mut healths = self.inner.healths.lock().unwrap_or_else(PoisonError::into_inner);
        healths.retain(|id, _| ids.contains(id));
        Arc::clone(healths.entry(id).or_default())
    }

    async fn sources(
        &self,
        versions: KnownVersions<'_>,
        in_use: &mut LoadedModules,
    ) -> Result<HashMap<String, Arc<SourceRuntime>>, SettingsError> {
        let objects: Vec<StoredObject<Value>> = self.list_objects(ObjectKind::Source).await?;
        let ids: HashSet<SourceId> = objects.iter().map(|o| SourceId::from_uuid(o.id)).collect();
        let mut runtimes = HashMap::new();
        for object in objects {
            let id = SourceId::from_uuid(object.id);
            let Some(OpenedSettings { settings, secrets, locked }) =
                self.open_settings::<SourceSettings>(ObjectKind::Source, &object)
            else {
                let known =
                    self.current_settings().source_runtimes().find(|s| s.source.id == id).cloned();
                runtimes.extend(known.map(|known| (known.source.settings.name.clone(), known)));
                continue;
            };
            let source = Source {
                id,
                settings,
                created_at: object.created_at,
                updated_at: object.updated_at,
            };
            let health = self.find_health(id, &ids);
            let name = source.settings.name.clone();
            let wanted = source.settings.find_module();
            let mut runtime = SourceRuntime::new(source, secrets, locked, health);
            if let Some(wanted) = wanted {
                // Versions are tried on events of flows only.
                let known = KnownVersions { trials: &[], ..versions };
                runtime.module = Some(self.stage(&wanted, known, in_use).await);
            }
            runtimes.insert(name, Arc::new(runtime));
        }
        Ok(runtimes)
    }

    async fn secrets(&self) -> Result<UsableSecrets, SettingsError> {
        let objects: Vec<StoredObject<Value>> = self.list_objects(ObjectKind::ModuleSecret).await?;
        let secret = |object: StoredObject<Value>| {
            let OpenedSettings { settings, secrets, .. } =
                self.open_settings::<ModuleSecretSettings>(ObjectKind::ModuleSecret, &object)?;
            let (id, name) = (ModuleSecretId::from_uuid(object.id), settings.name.clone());
            let (created_at, updated_at) = (object.created_at, object.updated_at);
            let secret = ModuleSecret { id, settings, created_at, updated_at };
            Some((name, Arc::new(UsableSecret { secret, secrets })))
        };
        Ok(objects.into_iter().filter_map(secret).collect())
    }

    /// Reads the stored settings of an object. If this version cannot read them, the settings that
    /// were last read stay in use.
    fn open_settings<S: DeserializeOwned>(
        &self,
        kind: ObjectKind,
        object: &StoredObject<Value>,
    ) -> Option<OpenedSettings<S>> {
        let name = object.settings.get("name").and_then(Value::as_str).unwrap_or_default();
        sealed::open_settings(&self.inner.sealer, object)
            .inspect_err(|why| log_unreadable(kind, name, why))
            .ok()
    }

    async fn endpoints(
        &self,
        versions: KnownVersions<'_>,
        in_use: &mut LoadedModules,
    ) -> Result<HashMap<EndpointId, Arc<EndpointRuntime>>, SettingsError> {
        let objects: Vec<StoredObject<Value>> = self.list_objects(ObjectKind::Endpoint).await?;
        let current = self.current_settings();
        let mut endpoints = HashMap::new();
        for object in objects {
            let id = EndpointId::from_uuid(object.id);
            let Some(OpenedSettings { settings, secrets, .. }) =
                self.open_settings::<EndpointSettings>(ObjectKind::Endpoint, &object)
            else {
                let known = current.find_endpoint(id).cloned();
                endpoints.extend(known.map(|known| (id, known)));
                continue;
            };
            let endpoint = Endpoint {
                id,
                settings,
                created_at: object.created_at,
                updated_at: object.updated_at,
            };
            let name = endpoint.settings.name.clone();
            let (defaults, journal) = (&self.inner.defaults, &self.inner.journal);
            let previous = current.find_endpoint(id).map(|previous| &**previous);
            match EndpointRuntime::new(endpoint, secrets, defaults, journal, previous) {
                Ok(mut target) => {
                    if let Some(previous) = previous {
                        target.keep_channel(previous);
                    }
                    if let Some(wanted) = find_module(&target.endpoint.settings) {
                        // Versions are tried on events of flows only.
                        let known = KnownVersions { trials: &[], ..versions };
                        let stage = self.stage(&wanted, known, in_use).await;
                        let plain_http = &self.inner.defaults.module_plain_http;
                        target.channel = stage.open_channel(&target.endpoint, plain_http);
                    }
                    if let EndpointChannel::Unusable(why) | EndpointChannel::Waiting { why, .. } =
                        &target.channel
                    {
                        tracing::error!(endpoint = name, why, "nothing can be sent to it");
                    }
                    let condition = target.condition.as_ref();
                    log_unreadable_condition(ObjectKind::Endpoint, &name, condition);
                    drop(endpoints.insert(id, Arc::new(target)));
                }
                Err(error) => {
                    tracing::error!(endpoint = name, %error, "the endpoint cannot be used");
                }
            }
        }
        Ok(endpoints)
    }

    async fn flows(
        &self,
        (endpoints, names): (
            &HashMap<EndpointId, Arc<EndpointRuntime>>,
            &BTreeMap<String, EndpointId>,
        ),
        versions: KnownVersions<'_>,
        in_use: &mut LoadedModules,
    ) -> Result<Vec<Arc<FlowRuntime>>, SettingsError> {
        let objects: Vec<StoredObject<Value>> = self.list_objects(ObjectKind::Flow).await?;
        let mut flows = Vec::new();
        for object in objects {
            let Some(OpenedSettings { settings, locked, .. }) =
                self.open_settings::<FlowSettings>(ObjectKind::Flow, &object)
            else {
                flows.extend(
                    self.current_settings().find_flow(FlowId::from_uuid(object.id)).cloned(),
                );
                continue;
            };
            let find = |name: &String| names.get(name).and_then(|id| endpoints.get(id)).cloned();
            let endpoints = settings.endpoints.iter().filter_map(find).collect();
            let mut stages = Vec::new();
            for module in &settings.modules {
                let mut stage = self.stage(module, versions, in_use).await;
                if locked && has_masks(module) {
                    stage.trial = None;
                    stage.module = Err(ModuleUnusable::Missing(format!(
                        "the configuration of module `{}` cannot be read with this key: enter it again",
                        module.name
                    )));
                }
                stages.push(stage);
            }
            let flow = Flow {
                id: FlowId::from_uuid(object.id),
                settings,
                created_at: object.created_at,
                updated_at: object.updated_at,
            };
            let lane = self.inner.journal.prefetch().open_flow_lane(flow.id);
            let condition = flow.settings.condition.as_deref().map(WhereCondition::new);
            log_unreadable_condition(ObjectKind::Flow, &flow.settings.name, condition.as_ref());
            let figures = self.inner.journal.metrics().find_flow(&flow.settings.name);
            let modules = stages;
            let runtime =
                FlowRuntime { flow, condition, endpoints, modules, locked, lane, figures };
            flows.push(Arc::new(runtime));
        }
        Ok(flows)
    }

    async fn stage(
        &self,
        settings: &FlowModule,
        known: KnownVersions<'_>,
        in_use: &mut LoadedModules,
    ) -> ModuleStage {
        let wanted = |v: &&ModuleVersion| match settings.version {
            Some(number) => v.version == number,
            None => v.active,
        };
        let mut named = known.versions.iter().filter(|v| v.name == settings.name);
        let version = named.find(wanted);
        let module = match version {
            None if self.inner.copy.load().is_some() => {
                Err(ModuleUnusable::NotLoaded("the database is away".to_owned()))
            }
            None => Err(ModuleUnusable::Missing(match settings.version {
                Some(number) => format!("module `{}` has no version {number}", settings.name),
                None => format!("module `{}` has no active version", settings.name),
            })),
            Some(version) => {
                let module = self.find_loaded(version.sha256, known.loaded, in_use).await;
                module.map(|module| (version.version, module))
            }
        };
        if let Err(why) = &module {
            tracing::error!(module = settings.name, %why, "a module that is in use cannot run");
        }
        let trial = self.trial_stage(settings, known, in_use).await;
        ModuleStage { trial, ..self.build_stage(settings, version, module, known.secrets) }
    }

    /// Prepares the version that is tried on the events of a flow, if one is.
    async fn trial_stage(
        &self,
        settings: &FlowModule,
        KnownVersions { versions, trials, secrets, loaded }: KnownVersions<'_>,
        in_use: &mut LoadedModules,
    ) -> Option<Box<TrialStage>> {
        let wanted =
            |known: &&KnownTrial| known.module == settings.name && known.trial.is_running();
        // Only a flow that follows the active version takes part in a trial.
        let known = trials.iter().find(wanted).filter(|_| settings.version.is_none())?;
        let is_it = |v: &&ModuleVersion| v.name == settings.name && v.version == known.version;
        let version = versions.iter().find(is_it)?;
        let module = self.find_loaded(version.sha256, loaded, in_use).await;
        if let Err(why) = &module {
            tracing::error!(module = settings.name, version = version.version, %why, "a version on trial cannot run; the active one runs all events");
        }
        // Kept if it could not be loaded, so that it is loaded again, as the active version is.
        let module = module.map(|module| (version.version, module));
        let stage = self.build_stage(settings, Some(version), module, secrets);
        let (trial, tally) = (known.trial.clone(), Arc::clone(&known.tally));
        Some(Box::new(TrialStage { trial, stage, tally }))
    }

    /// Returns a module that is loaded already, or loads it.
    async fn find_loaded(
        &self,
        sha256: [u8; 32],
        loaded: &LoadedModules,
        in_use: &mut LoadedModules,
    ) -> Result<wasm::LoadedModule, ModuleUnusable> {
        let module = match in_use.get(&sha256).or_else(|| loaded.get(&sha256)) {
            Some(module) => module.clone(),
            None => self.load(sha256).await?,
        };
        in_use.insert(sha256, module.clone());
        Ok(module)
    }

    /// Prepares a module of a flow in one of its versions.
    pub fn build_stage(
        &self,
        settings: &FlowModule,
        version: Option<&ModuleVersion>,
        module: Result<(u32, wasm::LoadedModule), ModuleUnusable>,
        secrets: &UsableSecrets,
    ) -> ModuleStage {
        let share = Semaphore::new(self.inner.engine.side_by_side());
        let manifest = version.and_then(ModuleVersion::manifest);
        let schema = manifest.as_ref().and_then(|manifest| manifest.config.as_ref());
        let config = Arc::new(settings.readable_config(schema));
        let grants = version.map(|version| self.grants(version)).unwrap_or_default();
        let grants = usable_grants(&module, grants);
        let granted = |name: &String| Some((name.clone(), Arc::clone(secrets.get(name)?)));
        let names = grants.iter().flat_map(|grants| &grants.secrets);
        let secrets = Arc::new(names.filter_map(granted).collect());
        let figures = self.inner.journal.metrics().find_module(&settings.name);
        let version_figures = module.as_ref().ok().map(|(version, _)| {
            self.inner.journal.metrics().find_version(&settings.name, *version)
        });
        let breaker = module.as_ref().ok().map(|(version, _)| {
            self.inner.breakers.open_breaker(&settings.name, *version, &figures)
        });
        let log = self.inner.module_logs.open_log(&settings.name);
        let settings = settings.clone();
        ModuleStage {
            settings,
            config,
            grants,
            secrets,
            module,
            share,
            figures,
            version_figures,
            breaker,
            log,
            trial: None,
        }
    }

    /// Returns the capabilities of a version.
    fn grants(&self, version: &ModuleVersion) -> CapabilityGrants {
        let asked = version.manifest().map(|manifest| manifest.capabilities).unwrap_or_default();
        asked.decide(self.inner.policy, &version.approved).granted
    }

    /// Returns the module with a SHA-256. Compiles it again if the cache has lost it.
    pub async fn load(&self, sha256: [u8; 32]) -> Result<wasm::LoadedModule, ModuleUnusable> {
        let (engine, cache) = (&self.inner.engine, &self.inner.cache);
        match engine.load(cache, sha256).await {
            Ok(Some(module)) => return Ok(module),
            Ok(None) => {}
            Err(error) => return Err(not_loaded(&error)),
        }
        let wasm = self.inner.journal.load_component(sha256).await.map_err(|e| not_loaded(&e))?;
        let missing = || ModuleUnusable::Missing("its component is not stored".to_owned());
        let wasm = wasm.ok_or_else(missing)?;
        engine.admit_module(cache, &wasm).await.map_err(|rejection| {
            if let wasm::ModuleRejection::Unavailable(error) = rejection {
                return not_loaded(&error);
            }
            ModuleUnusable::Missing(rejection.to_string())
        })
    }
}

fn not_loaded(error: &dyn Error) -> ModuleUnusable {
    ModuleUnusable::NotLoaded(error_chain(error))
}

/// Logs that a condition which was accepted once now excludes every event.
fn log_unreadable_condition(kind: ObjectKind, name: &str, condition: Option<&WhereCondition>) {
    if let Some(why) = condition.and_then(WhereCondition::fault) {
        tracing::error!(?kind, name, why, "a `where` cannot be read, so it excludes every event");
    }
}

/// Returns whether a module's configuration has a value that cannot be read.
fn has_masks(module: &FlowModule) -> bool {
    let masked = |text: &String| text == MASK || text.contains("\"***\"");
    module.texts().values().any(masked)
}

impl LiveSettings {
    /// Disables an endpoint if it still has the URL that was called. Returns whether it did.
    /// Waiting deliveries keep waiting.
    pub async fn disable_endpoint(
        &self,
        id: EndpointId,
        called: &str,
    ) -> Result<bool, SettingsError> {
        let _turn = self.take_edit_turn().await?;
        let current = self.current_settings();
        // Read within the edit turn, so that a change of the URL cannot be overlooked.
        let target = current.find_endpoint(id);
        let target = target.filter(|target| target.endpoint.settings.url == called);
        let Some(target) = target else { return Ok(false) };
        let mut settings = target.endpoint.settings.clone();
        settings.enabled = false;
        self.replace_endpoint(target, settings).await?;
        Ok(true)
    }

    /// Stores the refresh token with which a token server replaced an endpoint's. A token that an
    /// operator, or another node, has stored meanwhile is kept.
    pub async fn store_refresh_token(
        &self,
        id: EndpointId,
        rotated: RotatedToken,
    ) -> Result<(), SettingsError> {
        let _turn = self.take_edit_turn().await?;
        let current = self.current_settings();
        let Some(target) = current.find_endpoint(id) else { return Ok(()) };
        let mut settings = target.endpoint.settings.clone();
        let Some(EndpointAuth::Oauth2(oauth)) = &mut settings.auth else { return Ok(()) };
        if oauth.refresh_token.as_ref() != Some(&rotated.stored) {
            return Ok(());
        }
        oauth.refresh_token = Some(rotated.given);
        self.replace_endpoint(target, settings).await
    }

    /// Stores other settings of an endpoint. The caller holds the edit turn.
    async fn replace_endpoint(
        &self,
        target: &EndpointRuntime,
        settings: EndpointSettings,
    ) -> Result<(), SettingsError> {
        let (id, name) = (target.endpoint.id.uuid(), settings.name.clone());
        let object = sealed::sealed_object(id, settings, target.endpoint.created_at);
        let secrets = target.secrets.as_ref();
        let change =
            sealed::put_sealed(&self.inner.sealer, ObjectKind::Endpoint, &name, &object, secrets)?;
        let change = change.replacing(Some(target.endpoint.updated_at));
        self.inner.journal.change_objects(&[change]).await?;
        self.reload_settings().await
    }
}
