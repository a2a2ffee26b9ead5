//! Builds the server, runs it and stops it in order.
//!
//! At a stop, `/readyz` answers 503 and requests are still accepted for `shutdown.drain`. Then new
//! connections and new work are refused, and work in progress may finish within `shutdown.grace`.
//! At last unused leases are released and the store writes its queue.

use crate::access::audit::CallAudit;
use crate::access::grant::GrantIssuer;
use crate::access::throttle::FailureThrottle;
use crate::admin;
use crate::alerts::{self, AlertContext, AlertDesk, CertificateSource};
use crate::api::auth;
use crate::api::body_budget::BodyBudget;
use crate::api::reading::ReadingShares;
use crate::api::{self, AppState, SharedState};
use crate::config::Config;
use crate::crypto::seal;
use crate::crypto::seal::SecretSealer;
use crate::delivery::dispatcher;
use crate::delivery::places::RequestPlaces;
use crate::error_chain::error_chain;
use crate::ingest::capture_log::CaptureLog;
use crate::listener::tls::{self, ServedCertificates};
use crate::listener::{self, BoundListener, ConnectionBounds};
use crate::maintenance;
use crate::mcp;
use crate::model::module_breaker::BreakerLimits;
use crate::model::node_description::NodeDescription;
use crate::net::http_client::{ClientSettings, DeliveryClient};
use crate::pipeline;
use crate::settings::endpoint_runtime::EndpointDefaults;
use crate::settings::live;
use crate::settings::live::{LiveSettings, ModuleRules};
use crate::settings::settings_copy::{COPY_FILE, CopyKeeper, SettingsCopy};
use crate::sources;
use crate::sources::stream::log_taker;
use crate::sources::stream::log_taker::LogTaker;
use crate::store::prefetch::PrefetchOutlets;
use crate::store::{EventStore, RunningNode, StoreError, StoreOpening};
use crate::telemetry::log_entry::LogQueue;
use crate::telemetry::running_exports::{ExportSettings, RunningExports};
use crate::time::clock::Clock;
use crate::time::span::TimeSpan;
use crate::trials::{self, TrialContext};
use crate::wasm::{
    LimitCeilings, ModuleCache, ModuleClient, ModuleCompiler, ModuleEngine, ModuleLimits,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use secrecy::ExposeSecret as _;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The reason why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is in use, or does not belong to this machine.
    #[error("cannot listen on {address}; choose another with {key}")]
    Listen {
        address: SocketAddr,
        /// The setting that holds the address.
        key: &'static str,
        source: std::io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("cannot use tls.certificate and tls.key")]
    Tls(#[from] tls::TlsFilesError),
    /// The folder for the key file and compiled modules cannot be created.
    #[error("cannot use the folder {path}; set server.data_dir to one that is writable")]
    DataDir { path: PathBuf, source: std::io::Error },
    /// The file with additional CA certificates cannot be used.
    #[error("cannot use delivery.ca_file {path}")]
    CaFile { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    /// The database cannot be used.
    #[error("cannot use the database")]
    Journal(#[from] StoreError),
    /// The key of stored secrets cannot be used.
    #[error(transparent)]
    Seal(#[from] seal::SealError),
    /// A running node uses the same database with another key.
    #[error(
        "the node at {} uses the same database with another secret key, so neither could send what the \
         other stores: start all nodes with the same WAYBILL_SECRET_KEY, or the same file waybill.key in \
         server.data_dir",
        .0.address.as_deref().unwrap_or("an unknown address")
    )]
    OtherKey(RunningNode),
    /// The settings in the database cannot be loaded.
    #[error("cannot load the settings from the database")]
    Topology(#[from] live::SettingsError),
    /// The module engine cannot start.
    #[error("cannot start the module engine")]
    Wasm(#[from] crate::wasm::EngineError),
    /// The capture log cannot be used as it is set.
    #[error("cannot use capture.log: {0}")]
    CaptureLog(String),
}

/// A server that is ready to run.
#[derive(Debug)]
pub struct Server {
    listener: BoundListener,
    /// The listener that redirects plain HTTP to HTTPS.
    redirect: Option<BoundListener>,
    /// The separate listener for metrics.
    metrics: Option<BoundListener>,
    app: AppState,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// The bound address, with the port that the system chose for port 0.
    pub address: SocketAddr,
    /// The admin token, if this start created it. It is shown once.
    pub new_token: Option<String>,
}

impl Server {
    /// Opens the store and all parts, and starts the work. `program` is the path of this
    /// executable, which compiles modules in a subprocess. `log_queue` receives the log lines to
    /// export.
    pub async fn open(
        config: Config,
        clock: Clock,
        program: PathBuf,
        log_queue: Option<LogQueue>,
    ) -> Result<Self, ServerError> {
        let stop = CancellationToken::new();
        let BoundListeners { listener, address, redirect, metrics, certificates, outgoing } =
            bind_listeners(&config, &stop)?;
        let folder = config.data_dir();
        make_data_dir(&config, &folder)?;
        let sealer = read_key(&config, &folder)?;
        let capture_log = open_capture_log(&config)?;
        let OpenedStore { journal, outlets, copy } =
            open_store(&config, clock, &sealer, &folder).await?;
        let exports = start_exports(&config, &journal, log_queue)?;
        let is_away = copy.is_some();
        let new_token = match &copy {
            None => enter_cluster(&journal, &config, address, &sealer).await?,
            Some(_) => None,
        };
        let modules = open_modules(&config, &sealer, &folder, program)?;
        let largest_body = config.server.max_body.max(modules.0.limits().upload_bytes);
        let (defaults, rules) = (endpoint_defaults(&config), module_rules(&config));
        let opening = LiveSettings::open(journal.clone(), sealer, defaults, modules, rules, copy);
        // Boxed because this future is large.
        let live = Box::pin(opening).await?;
        let client = delivery_client(&config, outgoing)?;
        let audit = CallAudit::new(journal.clone(), !config.audit.retention.get().is_zero());
        let tasks = TaskTracker::new();
        let work = (tasks.clone(), stop.clone());
        let pull = open_sources(&journal, &live, &client, work);
        let reading = ReadingShares::new(journal.pool().count_readers());
        // Trials run modules, so they have as many places of their own.
        let trials = ReadingShares::new(journal.pool().count_readers());
        let app = AppState::new(SharedState {
            alerts: AlertDesk::new(config.alerts.rules.clone()),
            healths: api::health_answers::HealthCache::default(),
            exports,
            journal,
            capture_log,
            client,
            audit: Arc::new(audit),
            pull: Arc::new(pull),
            throttle: FailureThrottle::default(),
            issuer: GrantIssuer::new(live.sealer().grant_key()),
            unknown_sources: AtomicU64::new(0),
            reading,
            trials,
            bodies: BodyBudget::new(largest_body),
            stopping: CancellationToken::new(),
            live,
            config,
        });
        // The remaining eighth is for sources and tests of endpoints.
        let work = ServerWork { app, outgoing: outgoing - outgoing / 8, tasks, stop };
        work.begin(outlets, is_away.then_some(address));
        let ServerWork { app, tasks, stop, .. } = work;
        if let Some(certificates) = certificates {
            tasks.spawn(certificates.watch(stop.clone()));
        }
        Ok(Self { listener, redirect, metrics, app, tasks, stop, address, new_token })
    }

    /// Returns `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.app.config.tls.certificate.is_some() { "https" } else { "http" }
    }

    /// Serves until `shutdown` ends, then stops in order.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) {
        let grace = self.app.config.shutdown.grace.get();
        let app = self.app.clone();
        let journal = &app.journal;
        let (stop, stopping) = (self.stop.clone(), app.stopping.clone());
        let drain = app.config.shutdown.drain.get();
        let ending = async move {
            shutdown.await;
            stopping.cancel();
            if !drain.is_zero() {
                tracing::info!(
                    ?drain,
                    "stopping: /readyz answers 503; requests are still accepted"
                );
                tokio::time::sleep(drain).await;
            }
            tracing::info!("stopping: no new work; finishing work in progress");
            stop.cancel();
        };
        if let Some(redirect) = self.redirect {
            let router = listener::redirect::redirect_router(self.address.port());
            self.tasks.spawn(redirect.run(router));
        }
        if let Some(metrics) = self.metrics {
            let router = api::scrape::metrics_router(self.app.clone());
            self.tasks.spawn(metrics.run(router));
        }
        let described = api::ApiRoutes::describe();
        let tools = mcp::tool_routes(&self.app, described.called.clone());
        let pages = admin::page_routes(self.app.clone()).merge(tools);
        let router = api::build_router(self.app, described, pages);
        let mut serving = std::pin::pin!(self.listener.run(router));
        tokio::select! {
            () = &mut serving => {}
            () = ending => {
                // Requests that take longer are cut off.
                drop(tokio::time::timeout(grace, serving).await);
            }
        }
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                "work was still in progress after shutdown.grace; it resumes when its leases expire"
            );
        }
        app.audit.write_notes(app.live.fresh_usages());
        if tokio::time::timeout(grace, journal.flush_writes()).await.is_err() {
            tracing::warn!("the database accepted no writes within shutdown.grace");
        }
        if let Err(error) = journal.leave_process().await {
            tracing::warn!(%error, "cannot release leases; other nodes take over when they expire");
        }
        app.exports.finish().await;
    }
}

/// The work of a server besides answering calls.
#[derive(Debug, Clone)]
struct ServerWork {
    app: AppState,
    /// Most concurrent requests to endpoints.
    outgoing: usize,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl ServerWork {
    /// Starts the work. With an address, the database is away and the work starts once it answers.
    fn begin(&self, outlets: PrefetchOutlets, away_at: Option<SocketAddr>) {
        self.start_capture_log();
        match away_at {
            Some(address) => {
                self.tasks.spawn(self.clone().start_late(outlets, address));
            }
            None => self.start(outlets),
        }
    }

    /// Prepares the capture log in the background, because it may be away too.
    fn start_capture_log(&self) {
        let (Some(log), stop) = (self.app.capture_log.clone(), self.stop.clone()) else { return };
        self.tasks.spawn(async move {
            tokio::select! {
                () = log.prepare_until_ready() => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Starts the work once the database answers. Until then the node only captures. Stops the
    /// server if it cannot work with this database.
    async fn start_late(self, outlets: PrefetchOutlets, address: SocketAddr) {
        let mut told: Option<Instant> = None;
        loop {
            match self.complete_start(address).await {
                Ok(()) => break,
                Err(ServerError::Journal(error @ StoreError::Unavailable(_))) => {
                    if told.is_none_or(|at| at.elapsed() >= TELL_AWAY) {
                        tracing::warn!(error = %error_chain(&error), "the database is away; this node only captures until it answers");
                        told = Some(Instant::now());
                    }
                }
                Err(error) => {
                    tracing::error!(error = %error_chain(&error), "this node cannot work with its database and stops");
                    self.stop.cancel();
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(AWAY_PAUSE) => {}
                () = self.stop.cancelled() => return,
            }
        }
        tracing::info!("the database answers; this node takes up all its work");
        self.start(outlets);
    }

    async fn complete_start(&self, address: SocketAddr) -> Result<(), ServerError> {
        let SharedState { journal, live, config, .. } = &*self.app;
        journal.enter_late().await?;
        enter_cluster(journal, config, address, live.sealer()).await?;
        match live.leave_copy().await {
            Err(live::SettingsError::Journal(error)) => return Err(error.into()),
            loaded => loaded?,
        }
        journal.note_entered();
        Ok(())
    }

    /// Takes captures from the log, and keeps a copy of the settings with which this node can start
    /// while the database is away.
    fn start_log_taker(&self, log: Arc<CaptureLog>) {
        let (journal, live) = (self.app.journal.clone(), self.app.live.clone());
        let path = self.app.config.data_dir().join(COPY_FILE);
        let keeper = CopyKeeper { journal: journal.clone(), live: live.clone(), path };
        self.tasks.spawn(keeper.run(self.stop.clone()));
        let taker = LogTaker { journal, live, log };
        self.tasks.spawn(log_taker::run_log_taker(taker, self.stop.clone()));
    }

    fn start(&self, outlets: PrefetchOutlets) {
        let deliver = dispatcher::LaneContext {
            journal: self.app.journal.clone(),
            live: self.app.live.clone(),
            client: self.app.client.clone(),
            places: RequestPlaces::new(self.outgoing),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        };
        let plan = pipeline::PlannerContext {
            journal: self.app.journal.clone(),
            live: self.app.live.clone(),
            schedule: self.app.config.delivery.retry_schedule.clone().into(),
            dedupe_for: self.app.config.modules.dedupe_for.get(),
            requests: ModuleClient::new(
                self.app.client.clone(),
                &self.app.config.modules.plain_http,
            ),
            heavy: Arc::new(Semaphore::new(1)),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        };
        self.tasks.spawn(dispatcher::run_dispatcher(Arc::new(deliver), outlets.lanes));
        self.tasks.spawn(pipeline::run_pipeline(plan, outlets.flow_lanes));
        self.start_trials();
        self.tasks.spawn(sources::run_sources(Arc::clone(&self.app.pull)));
        let tend = maintenance::MaintenanceContext {
            journal: self.app.journal.clone(),
            live: self.app.live.clone(),
            audit: Arc::clone(&self.app.audit),
            calls: self.app.config.audit.retention.get(),
            retention: self.app.config.retention.clone(),
            pruned: std::sync::Mutex::default(),
        };
        self.tasks.spawn(maintenance::run_maintenance(tend, self.stop.clone()));
        let config = &self.app.config;
        let watch = AlertContext {
            journal: self.app.journal.clone(),
            live: self.app.live.clone(),
            client: self.app.client.clone(),
            settings: config.alerts.clone(),
            desk: self.app.alerts.clone(),
            data_dir: config.data_dir(),
            certificate: CertificateSource {
                path: config.tls.certificate.clone(),
                read: |path| tls::certificate_end(path).ok(),
            },
        };
        self.tasks.spawn(alerts::run_alerts(watch, self.stop.clone()));
        if let Some(log) = self.app.capture_log.clone() {
            self.start_log_taker(log);
        }
    }

    fn start_trials(&self) {
        let context = TrialContext {
            journal: self.app.journal.clone(),
            live: self.app.live.clone(),
            audit: Arc::clone(&self.app.audit),
            dedupe_for: self.app.config.modules.dedupe_for.get(),
        };
        self.tasks.spawn(trials::run_trials(context, self.stop.clone()));
    }
}

/// A store, and the settings to begin with if its database is away.
struct OpenedStore {
    journal: EventStore,
    outlets: PrefetchOutlets,
    copy: Option<SettingsCopy>,
}

/// Opens the database. If it is away, a node with a capture log begins with the copy of the
/// settings on its disk.
async fn open_store(
    config: &Config,
    clock: Clock,
    sealer: &SecretSealer,
    folder: &Path,
) -> Result<OpenedStore, ServerError> {
    let away = match open_journal(config, clock.clone()).await {
        Ok((journal, outlets)) => return Ok(OpenedStore { journal, outlets, copy: None }),
        Err(StoreError::Unavailable(away)) if config.capture.log.is_some() => away,
        Err(error) => return Err(error.into()),
    };
    let away = || ServerError::from(StoreError::Unavailable(Arc::clone(&away)));
    let path = folder.join(COPY_FILE);
    let copy = SettingsCopy::load(&path, sealer).inspect_err(|error| {
        tracing::error!(path = %path.display(), %error, "the copy of the settings cannot be used");
    });
    let copy = copy.ok().flatten().ok_or_else(away)?;
    let (url, opening) = (config.database.url.expose(), store_opening(config));
    let opened = EventStore::open_away(url, clock, opening)?;
    let (journal, outlets) = opened.ok_or_else(away)?;
    tracing::warn!(
        settings_of = %copy.saved_at(),
        "the database does not answer: this node starts with its copy of the settings and only captures"
    );
    Ok(OpenedStore { journal, outlets, copy: Some(copy) })
}

/// Prepares the capture log, if one is set.
fn open_capture_log(config: &Config) -> Result<Option<Arc<CaptureLog>>, ServerError> {
    if config.capture.log.is_none() {
        return Ok(None);
    }
    // The operator names the servers, and most stand in a private network.
    let everywhere: [IpNet; 2] = [Ipv4Net::default().into(), Ipv6Net::default().into()];
    let client = open_client(config, everywhere.to_vec(), LOG_CONNECTIONS)?;
    CaptureLog::open(config.capture.clone(), client).map_err(ServerError::CaptureLog)
}

/// Joins the other nodes. Returns the admin token if this start created it. One node starts at a
/// time: two nodes that find no token would both store one with the same name, and the second would
/// fail.
async fn enter_cluster(
    journal: &EventStore,
    config: &Config,
    address: SocketAddr,
    sealer: &SecretSealer,
) -> Result<Option<String>, ServerError> {
    let _turn = match journal.lock_start().await {
        Err(StoreError::Unavailable(error)) => {
            tracing::warn!(%error, "cannot wait for nodes that start at the same time");
            None
        }
        taken => taken?,
    };
    agree_on_key(journal, address, sealer).await?;
    first_token(journal, config).await
}

/// Publishes this node's description. Fails if a running node uses the same database with another
/// key. A node without write access is only for inspection and needs no agreement.
async fn agree_on_key(
    journal: &EventStore,
    address: SocketAddr,
    sealer: &SecretSealer,
) -> Result<(), ServerError> {
    let description = NodeDescription {
        address: address.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        started_at: journal.clock().now(),
        key_mark: sealer.key_mark(),
        next_key_mark: sealer.next_key_mark(),
    };
    match journal.describe_node(description).await {
        Ok(None) | Err(StoreError::Unavailable(_)) => Ok(()),
        Ok(Some(other)) => {
            journal.leave_process().await?;
            Err(ServerError::OtherKey(other))
        }
        Err(error) => Err(error.into()),
    }
}

fn open_sources(
    journal: &EventStore,
    live: &LiveSettings,
    client: &DeliveryClient,
    (tasks, stop): (TaskTracker, CancellationToken),
) -> sources::SourceContext {
    sources::SourceContext::new(journal.clone(), live.clone(), client.clone(), tasks, stop)
}

/// Connections to the receiver of traces and logs. Each signal has one request at a time.
const EXPORT_CONNECTIONS: usize = 4;

/// Connections to the servers of the capture log: for messages, for questions, and for the journal.
const LOG_CONNECTIONS: usize = 8;

/// How often a node that started without its database tries to reach it.
const AWAY_PAUSE: Duration = Duration::from_secs(1);
/// Interval at which the log repeats that the database is away.
const TELL_AWAY: Duration = Duration::from_mins(1);

/// Name of the key file in the data folder.
pub const KEY_FILE: &str = "waybill.key";
/// Name of the file of the next key during a change of keys.
pub const NEXT_KEY_FILE: &str = "waybill.key.next";

/// Returns the key that encrypts stored secrets: the configured one, or the one of the key file,
/// which is created if it is missing. Includes the next key during a change of keys.
pub fn read_key(config: &Config, folder: &Path) -> Result<SecretSealer, seal::SealError> {
    let Some(secret) = &config.secret_key else {
        let present = SecretSealer::from_file(&folder.join(KEY_FILE))?;
        let next = folder.join(NEXT_KEY_FILE);
        if !next.exists() {
            return Ok(present);
        }
        return Ok(present.with_next(SecretSealer::from_file(&next)?));
    };
    let present = SecretSealer::from_secret(secret);
    let next = config.next_secret_key.as_ref().map(SecretSealer::from_secret);
    Ok(match next {
        Some(next) => present.with_next(next),
        None => present,
    })
}

/// Opens the engine and the cache of compiled modules. `program` is the path of this executable.
fn open_modules(
    config: &Config,
    sealer: &SecretSealer,
    folder: &Path,
    program: PathBuf,
) -> Result<(ModuleEngine, ModuleCache), ServerError> {
    let engine = ModuleEngine::new(module_limits(config), &sealer.guest_key())?;
    let compiler = ModuleCompiler::Subprocess(program);
    let cache = ModuleCache::new(folder.join("waybill-modules"), sealer.mac_key(), compiler)?;
    Ok((engine, cache))
}

/// Creates the data folder with access for its owner only. Only a configured folder is created: if
/// the folder of the database is missing, its path is probably wrong.
fn make_data_dir(config: &Config, folder: &Path) -> Result<(), ServerError> {
    if config.server.data_dir.is_none() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| ServerError::DataDir { path: folder.to_owned(), source })
}

/// Opens the database. Warns if freed disk space cannot be returned without a rewrite of the file.
async fn open_journal(
    config: &Config,
    clock: Clock,
) -> Result<(EventStore, PrefetchOutlets), StoreError> {
    let (url, opening) = (config.database.url.expose(), store_opening(config));
    let (journal, outlets) = EventStore::open(url, clock, opening).await?;
    if !journal.gives_back_space().await? {
        tracing::warn!(
            "this database file reuses freed space but does not shrink; set \
             retention.vacuum_at_start for one start to rewrite it (docs/retention.md)"
        );
    }
    Ok((journal, outlets))
}

const fn store_opening(config: &Config) -> StoreOpening {
    StoreOpening {
        rewrites_file: config.retention.vacuum_at_start,
        max_connections: config.database.max_connections,
    }
}

/// Returns the admin token if this start created it. A database that refuses writes is not an
/// error.
async fn first_token(journal: &EventStore, config: &Config) -> Result<Option<String>, ServerError> {
    let given = config.admin_token.as_ref().map(|token| token.expose_secret().to_owned());
    match auth::first_token(journal, given.as_deref()).await {
        Err(StoreError::Unavailable(error)) => {
            tracing::error!(%error, "cannot store the admin token; existing tokens still work");
            Ok(None)
        }
        made => Ok(made?),
    }
}

/// The listeners of a server, and the connections that are left for requests to endpoints.
struct BoundListeners {
    listener: BoundListener,
    address: SocketAddr,
    redirect: Option<BoundListener>,
    metrics: Option<BoundListener>,
    certificates: Option<Arc<ServedCertificates>>,
    outgoing: usize,
}

fn bind_listeners(
    config: &Config,
    stop: &CancellationToken,
) -> Result<BoundListeners, ServerError> {
    let certificates = read_certificates(config)?;
    let mut room = listener::share_files(config.server.max_connections);
    let header_timeout = config.server.header_timeout.get();
    let redirect = bind_redirect(config, &mut room, stop)?;
    let metrics = bind_metrics(config, &mut room, stop)?;
    let bounds = ConnectionBounds { connections: room.incoming, header_timeout };
    let (listener, address) =
        bind_listener(config.server.listen, "server.listen", bounds, certificates.clone(), stop)?;
    let outgoing = room.outgoing;
    Ok(BoundListeners { listener, address, redirect, metrics, certificates, outgoing })
}

/// Opens the listener that redirects plain HTTP to HTTPS, if one is configured.
fn bind_redirect(
    config: &Config,
    room: &mut listener::ConnectionRoom,
    stop: &CancellationToken,
) -> Result<Option<BoundListener>, ServerError> {
    let Some(address) = config.tls.redirect_listen else { return Ok(None) };
    let bounds = ConnectionBounds {
        connections: room.split_off_redirect(),
        header_timeout: config.server.header_timeout.get(),
    };
    Ok(Some(bind_listener(address, "tls.redirect_listen", bounds, None, stop)?.0))
}

/// Opens the separate listener for metrics, if one is configured.
fn bind_metrics(
    config: &Config,
    room: &mut listener::ConnectionRoom,
    stop: &CancellationToken,
) -> Result<Option<BoundListener>, ServerError> {
    let Some(address) = config.metrics.listen else { return Ok(None) };
    let bounds = ConnectionBounds {
        connections: room.split_off_redirect(),
        header_timeout: config.server.header_timeout.get(),
    };
    Ok(Some(bind_listener(address, "metrics.listen", bounds, None, stop)?.0))
}

fn bind_listener(
    address: SocketAddr,
    key: &'static str,
    bounds: ConnectionBounds,
    certificates: Option<Arc<ServedCertificates>>,
    stop: &CancellationToken,
) -> Result<(BoundListener, SocketAddr), ServerError> {
    let failed = |source| ServerError::Listen { address, key, source };
    let listener =
        BoundListener::bind(address, bounds, certificates, stop.clone()).map_err(failed)?;
    let address = listener.address().map_err(failed)?;
    Ok((listener, address))
}

fn read_certificates(config: &Config) -> Result<Option<Arc<ServedCertificates>>, ServerError> {
    let (Some(certificate), Some(key)) = (&config.tls.certificate, &config.tls.key) else {
        return Ok(None);
    };
    Ok(Some(Arc::new(ServedCertificates::open(certificate, key)?)))
}

/// Returns the rules for all modules that flows run.
const fn module_rules(config: &Config) -> ModuleRules {
    let modules = &config.modules;
    let (faults, wait) = (modules.breaker_faults, modules.breaker_wait.get());
    ModuleRules { policy: modules.policy, breaker: BreakerLimits { faults, wait } }
}

/// Returns the limits of modules.
fn module_limits(config: &Config) -> ModuleLimits {
    let modules = &config.modules;
    ModuleLimits::with_ceilings(LimitCeilings {
        component: modules.max_component,
        memory: modules.max_memory,
        time: modules.max_time.get(),
        output: modules.max_output,
        log: modules.max_log,
        reuse: modules.max_reuse,
    })
}

fn endpoint_defaults(config: &Config) -> EndpointDefaults {
    EndpointDefaults {
        schedule: config.delivery.retry_schedule.clone(),
        timeout: TimeSpan::get(config.delivery.timeout),
        max_in_flight: config.delivery.max_in_flight,
        smart_window: config.smart.window.get(),
        smart_max_wait: config.smart.max_wait.get(),
        channels: config.channels.clone(),
        module_plain_http: config.modules.plain_http.clone(),
    }
}

/// Starts the exports of traces and logs, if any are set, and has the store record spans.
fn start_exports(
    config: &Config,
    journal: &EventStore,
    log_queue: Option<LogQueue>,
) -> Result<RunningExports, ServerError> {
    let Some(settings) = ExportSettings::read(&config.telemetry, journal.node()) else {
        return Ok(RunningExports::default());
    };
    // The operator names the receiver, and most stand on the same machine or in a private network.
    let everywhere: [IpNet; 2] = [Ipv4Net::default().into(), Ipv6Net::default().into()];
    let client = open_client(config, everywhere.to_vec(), EXPORT_CONNECTIONS)?;
    let exports = RunningExports::start(&settings, &client, journal.clock(), log_queue);
    if let Some(recorder) = exports.recorder() {
        journal.record_spans(recorder);
    }
    Ok(exports)
}

fn delivery_client(config: &Config, max_connections: usize) -> Result<DeliveryClient, ServerError> {
    open_client(config, config.delivery.allow_networks.clone(), max_connections)
}

fn open_client(
    config: &Config,
    allow_networks: Vec<IpNet>,
    max_connections: usize,
) -> Result<DeliveryClient, ServerError> {
    let ca = |path: &PathBuf| {
        std::fs::read(path)
            .map_err(|source| ServerError::CaFile { path: path.clone(), source: source.into() })
    };
    let extra_ca_pem = config.delivery.ca_file.as_ref().map(ca).transpose()?;
    let name_servers = config.delivery.name_servers.clone();
    DeliveryClient::new(ClientSettings {
        allow_networks,
        extra_ca_pem,
        name_servers,
        max_connections,
    })
    .map_err(|source| ServerError::CaFile {
        path: config.delivery.ca_file.clone().unwrap_or_default(),
        source: source.into(),
    })
}
