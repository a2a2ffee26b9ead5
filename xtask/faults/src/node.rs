//! The nodes, and which of them a load balancer would use.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::{Client, Server, Settings};

/// The interval at which a load balancer looks at `/readyz`.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The longest time for that answer.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// The longest time for other answers during the preparation.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// One node: `waybill serve` with a folder of its own.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its number, from 0.
    pub(crate) number: usize,
    settings: Mutex<Settings>,
    server: Mutex<Option<Server>>,
    client: Mutex<Client>,
    /// The output of earlier processes of this node.
    past_output: Mutex<String>,
    is_ready: AtomicBool,
    _folder: TempDir,
}

impl Node {
    /// Starts a node with these settings in a folder of its own.
    pub(crate) fn start(number: usize, mut settings: Settings) -> Result<Self> {
        let folder = TempDir::new()?;
        folder.path().clone_into(&mut settings.folder);
        settings.set("server.data_dir", &folder.path().to_string_lossy());
        let server = Server::start(&settings)?;
        Ok(Self {
            number,
            client: Mutex::new(client_of(&server)),
            settings: Mutex::new(settings),
            server: Mutex::new(Some(server)),
            past_output: Mutex::default(),
            is_ready: AtomicBool::new(true),
            _folder: folder,
        })
    }

    /// Returns a caller of this node.
    pub(crate) fn client(&self) -> Client {
        lock(&self.client).clone()
    }

    /// Changes the settings for the next start.
    pub(crate) fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.settings));
    }

    /// Starts the node again after it has ended.
    pub(crate) fn start_again(&self) -> Result<()> {
        let settings = lock(&self.settings).clone();
        let server = block_in_place(|| Server::start(&settings))?;
        *lock(&self.client) = client_of(&server);
        *lock(&self.server) = Some(server);
        Ok(())
    }

    /// Kills the node as `kill -9` does.
    pub(crate) fn kill9(&self) {
        if let Some(mut server) = lock(&self.server).take() {
            block_in_place(|| server.kill9());
            lock(&self.past_output).push_str(&server.output());
        }
    }

    /// Asks the node to drain and exit. Fails unless it exits with status 0.
    pub(crate) fn terminate(&self) -> Result<()> {
        let mut server = lock(&self.server).take().context("the node runs")?;
        let status = block_in_place(|| server.terminate())?;
        lock(&self.past_output).push_str(&server.output());
        if !status.success() {
            bail!("node {} drained with {status}", self.number);
        }
        Ok(())
    }

    /// Suspends the node (`SIGSTOP`).
    pub(crate) fn stand_still(&self) -> Result<()> {
        lock(&self.server).as_ref().context("the node runs")?.stand_still()
    }

    /// Resumes the suspended node (`SIGCONT`).
    pub(crate) fn go_on(&self) -> Result<()> {
        lock(&self.server).as_ref().context("the node runs")?.go_on()
    }

    /// Returns the output of all its processes.
    pub(crate) fn output(&self) -> String {
        let past = lock(&self.past_output).clone();
        let present = lock(&self.server).as_ref().map(Server::output).unwrap_or_default();
        format!("{past}\n{present}\n")
    }

    /// Sends a GET and returns the answer's `data`. Fails unless the status is 2xx.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        let answer = timeout(ANSWER_LIMIT, self.client().get(path)).await??;
        if !answer.status.is_success() {
            bail!("node {}: {path}: {}: {}", self.number, answer.status, answer.text());
        }
        Ok(answer.data())
    }

    /// Sends a POST and returns the answer's `data`. Fails unless the status is 2xx.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = timeout(ANSWER_LIMIT, self.client().post(path, body)).await??;
        if !answer.status.is_success() {
            bail!("node {}: {path}: {}: {}", self.number, answer.status, answer.text());
        }
        Ok(answer.data())
    }

    /// Captures one event outside of the load.
    pub(crate) async fn capture(&self, event: &Value) -> Result<()> {
        self.post("/api/v1/events", &json!([event])).await.map(drop)
    }

    async fn look(&self) {
        let answer = timeout(LOOK_LIMIT, self.client().get("/readyz")).await;
        let is_ready = answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status == 200));
        self.is_ready.store(is_ready, Relaxed);
    }
}

fn client_of(server: &Server) -> Client {
    Client::new(server.address(), Some(ADMIN_TOKEN))
}

/// Locks a mutex, also after a panic of another holder.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at a node's `/readyz` for as long as this runs, as a load balancer does.
pub(crate) async fn look_at(node: &Node) {
    loop {
        node.look().await;
        sleep(LOOK_EVERY).await;
    }
}

/// Returns the node whose turn it is, or the next one that is ready. If none is, returns the node
/// whose turn it is.
pub(crate) fn choose(nodes: &[Node], turn: usize) -> Option<&Node> {
    let in_turn = || nodes.iter().cycle().skip(turn % nodes.len().max(1)).take(nodes.len());
    in_turn().find(|node| node.is_ready.load(Relaxed)).or_else(|| in_turn().next())
}
