//! The server: everything put together, run, and stopped in order.
//!
//! Stopping: no new connections and no new work; what is under way ends, at most for
//! `shutdown.grace`; leases that were not used are given back; the journal writes what it was told.

use crate::access::seal::{self, Sealer};
use crate::api::auth;
use crate::api::{self, App, Shared};
use crate::clock::Clock;
use crate::config::Config;
use crate::deliver::client::{Client, Settings};
use crate::deliver::dispatcher;
use crate::domain::span::Span;
use crate::journal::handover::Outlets;
use crate::journal::{self, Journal};
use crate::topology::live::{self, Live};
use crate::topology::target::Defaults;
use crate::wasm::{Cache, Compiler, Engine, Limits};
use crate::{plan, tend};
use axum::serve::ListenerExt as _;
use secrecy::ExposeSecret as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}; choose another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The folder for key file and compiled modules.
    #[error("cannot use the folder {path}; set server.data_dir to one that is writable")]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file with further certificates.
    #[error("cannot use delivery.ca_file {path}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database.
    #[error("cannot use the database")]
    Journal(#[from] journal::Error),
    /// The key.
    #[error(transparent)]
    Seal(#[from] seal::Error),
    /// What is set.
    #[error("cannot load what is set")]
    Topology(#[from] live::Error),
    /// The module engine.
    #[error("cannot start the module engine")]
    Wasm(#[from] crate::wasm::Error),
    /// Serving.
    #[error("cannot go on serving")]
    Serve(#[source] std::io::Error),
}

/// A server that is ready.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    app: App,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Where it listens.
    pub address: SocketAddr,
    /// The admin token, if this start made it; to be shown once.
    pub new_token: Option<String>,
}

impl Server {
    /// Opens everything and starts the work. `program` is this program's own file, which compiles
    /// modules in a process of its own.
    pub async fn open(config: Config, clock: Clock, program: PathBuf) -> Result<Self, Error> {
        let address = config.server.listen;
        let listener = listen(address).map_err(|source| Error::Listen { address, source })?;
        let address = listener.local_addr().map_err(|source| Error::Listen { address, source })?;
        let folder = config.data_dir();
        // Only a folder that was asked for is made: a database in one that is missing is a mistake.
        if config.server.data_dir.is_some() {
            std::fs::create_dir_all(&folder)
                .map_err(|source| Error::DataDir { path: folder.clone(), source })?;
        }
        let sealer = match &config.secret_key {
            Some(secret) => Sealer::from_secret(secret),
            None => Sealer::from_file(&folder.join("waybill.key"))?,
        };
        let (journal, outlets) = Journal::open(config.database.url.expose(), clock).await?;
        let given = config.admin_token.as_ref().map(|token| token.expose_secret().to_owned());
        let new_token = auth::first_token(&journal, given.as_deref()).await?;
        let engine = Engine::new(Limits::default())?;
        let cache = Cache::new(
            folder.join("waybill-modules"),
            sealer.mac_key(),
            Compiler::Subprocess(program),
        )?;
        let live = Live::open(journal.clone(), sealer, defaults(&config), engine, cache).await?;
        let client = client(&config)?;
        let app = App::new(Shared { journal, live, client, config });
        let server = Self {
            listener,
            app,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            address,
            new_token,
        };
        server.start(outlets);
        Ok(server)
    }

    fn start(&self, outlets: Outlets) {
        let deliver = dispatcher::Context {
            journal: self.app.journal.clone(),
            live: self.app.live.clone(),
            client: self.app.client.clone(),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        };
        let plan = plan::Context {
            journal: self.app.journal.clone(),
            live: self.app.live.clone(),
            schedule: self.app.config.delivery.retry_schedule.clone().into(),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        };
        self.tasks.spawn(dispatcher::run(Arc::new(deliver), outlets.lanes));
        self.tasks.spawn(plan::run(plan, outlets.planning));
        let (journal, live) = (self.app.journal.clone(), self.app.live.clone());
        self.tasks.spawn(tend::run(journal, live, self.stop.clone()));
    }

    /// Serves until `shutdown` ends, then stops in order.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let grace = self.app.config.shutdown.grace.get();
        let journal = self.app.journal.clone();
        let router = api::router(self.app);
        let stop = self.stop.clone();
        let ending = async move {
            shutdown.await;
            tracing::info!("stopping: no new work, what is under way ends");
            stop.cancel();
        };
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let served = axum::serve(self.listener.tap_io(no_delay), service);
        let mut serving = std::pin::pin!(served.with_graceful_shutdown(ending).into_future());
        let result = tokio::select! {
            result = &mut serving => result,
            () = after(&self.stop, grace) => Ok(()),
        };
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                "work was still under way after shutdown.grace; it is taken up again by its leases"
            );
        }
        if tokio::time::timeout(grace, journal.flush()).await.is_err() {
            tracing::warn!("the database took no writes before shutdown.grace was over");
        }
        if let Err(error) = journal.leave().await {
            tracing::warn!(%error, "cannot give leases back; others take them over in a while");
        }
        result.map_err(Error::Serve)
    }
}

/// Connections that may wait to be accepted, as far as the system lets them. With the usual 128, a
/// few hundred clients that connect together find the queue full and try again a second later.
const BACKLOG: u32 = 4_096;

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart takes the address over from connections of the last run that are still closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Answers leave at once instead of waiting to be joined by more.
fn no_delay(stream: &mut tokio::net::TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch off Nagle's algorithm");
    }
}

async fn after(stop: &CancellationToken, grace: std::time::Duration) {
    stop.cancelled().await;
    tokio::time::sleep(grace).await;
}

fn defaults(config: &Config) -> Defaults {
    Defaults {
        schedule: config.delivery.retry_schedule.clone(),
        timeout: Span::get(config.delivery.timeout),
        max_in_flight: config.delivery.max_in_flight,
        smart_window: config.smart.window.get(),
        smart_max_wait: config.smart.max_wait.get(),
    }
}

fn client(config: &Config) -> Result<Client, Error> {
    let ca = |path: &PathBuf| {
        std::fs::read(path)
            .map_err(|source| Error::CaFile { path: path.clone(), source: source.into() })
    };
    let extra_ca_pem = config.delivery.ca_file.as_ref().map(ca).transpose()?;
    let allow_networks = config.delivery.allow_networks.clone();
    Client::new(Settings { allow_networks, extra_ca_pem }).map_err(|source| Error::CaFile {
        path: config.delivery.ca_file.clone().unwrap_or_default(),
        source: source.into(),
    })
}
