//! One round's stage: a fresh database, nodes, endpoints, a flow with a module, and sources.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::sleep;
use waybill_tests::rest::Call;
use waybill_tests::site::KEY;
use waybill_tests::world::with_manifest;
use waybill_tests::{Cluster, Database, Dialect, Receiver, ServerPair, Settings, Site};

use crate::Options;
use crate::changes::CHANGED;
use crate::database_line::DatabaseLine;
use crate::faults::FaultKind;
use crate::ledger::{CaptureKind, RowKind};
use crate::load::event;
use crate::node::{Node, look_at};
use crate::wall_clock::WallClock;

/// The key of all nodes.
const SECRET_KEY: &str = "one-key-of-all-nodes-0123456789";

/// Time in which a preparation must succeed.
const LIMIT: Duration = Duration::from_mins(1);

/// Pause before a preparation is looked at again.
const PACE: Duration = Duration::from_millis(100);

/// Database servers that outlive a round.
#[derive(Debug)]
pub(crate) struct DatabaseServers {
    /// The nodes' server, which faults stop.
    pub(crate) nodes: Cluster,
    /// The server of the table that a source reads.
    pub(crate) legacy: Cluster,
}

/// The nodes' database of one round.
#[derive(Debug)]
pub(crate) enum NodeStore {
    /// A database on the common server.
    Single(Database),
    /// A server of its own, with a standby.
    Pair(Box<ServerPair>),
}

/// Everything that one round needs. It ends with the value, in this order.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Looks at the nodes' `/readyz`.
    _looking: JoinSet<()>,
    pub(crate) nodes: Arc<Vec<Node>>,
    pub(crate) lines: Vec<DatabaseLine>,
    pub(crate) clock: Option<WallClock>,
    pub(crate) store: NodeStore,
    pub(crate) receiver: Receiver,
    pub(crate) site: Arc<Site>,
    pub(crate) table: Arc<Database>,
}

impl DatabaseServers {
    /// Starts both.
    pub(crate) fn start() -> Result<Self> {
        Ok(Self { nodes: Cluster::start_unsynced()?, legacy: Cluster::start_unsynced()? })
    }

    /// Starts the nodes' server again if a broken round left it stopped.
    pub(crate) fn repair(&mut self) -> Result<()> {
        if self.nodes.pid().is_none() {
            self.nodes.resume()?;
        }
        Ok(())
    }
}

impl Stage {
    /// Prepares a round, and waits until every node works.
    pub(crate) async fn set(
        options: &Options,
        servers: &DatabaseServers,
        fault: FaultKind,
    ) -> Result<Self> {
        let store = if fault.needs_standby() {
            NodeStore::Pair(Box::new(ServerPair::start().await?))
        } else {
            NodeStore::Single(Database::create(&servers.nodes.url("postgres")).await?)
        };
        let mut lines = Vec::new();
        let line_count = if fault.needs_lines() { options.nodes } else { 0 };
        for _ in 0..line_count {
            lines.push(DatabaseLine::to(servers.nodes.port()).await?);
        }
        let clock = fault.sets_clock().then(WallClock::make).transpose()?;
        let program = options.old.as_ref().filter(|_| fault == FaultKind::Upgrade);
        let program = program.unwrap_or(&options.program);
        let mut settings = Settings::new(program, &store.url(), program);
        set_common(&mut settings);
        let nodes =
            block_in_place(|| start_nodes(&settings, options.nodes, &lines, clock.as_ref()))?;
        let nodes = Arc::new(nodes);
        let mut looking = JoinSet::new();
        for number in 0..nodes.len() {
            let nodes = Arc::clone(&nodes);
            looking.spawn(async move {
                if let Some(node) = nodes.get(number) {
                    look_at(node).await;
                }
            });
        }
        let stage = Self {
            _looking: looking,
            nodes,
            lines,
            clock,
            store,
            receiver: Receiver::start().await,
            site: Arc::new(Site::start(Dialect::Custom).await),
            table: Arc::new(Database::create(&servers.legacy.url("postgres")).await?),
        };
        stage.make_objects(options).await?;
        for node in stage.nodes.iter() {
            stage.warm_up(node).await?;
        }
        Ok(stage)
    }

    /// Returns the node with this number, counted in a circle.
    pub(crate) fn node(&self, number: usize) -> Result<&Node> {
        self.nodes.get(number % self.nodes.len()).context("there are nodes")
    }

    async fn make_objects(&self, options: &Options) -> Result<()> {
        let smart = json!({"mode": "smart", "smart": {"window": "500ms", "max_wait": "2s"}});
        for kind in CaptureKind::ALL {
            let (name, events) = (kind.endpoint(), json!([kind.event_type()]));
            let more = match kind {
                CaptureKind::Plain => json!({"events": events}),
                CaptureKind::Ordered => json!({"events": events, "ordered": true}),
                CaptureKind::Smart => merged(json!({"events": events}), &smart),
                CaptureKind::Counted => json!({"events": []}),
            };
            self.make_endpoint(name, &more).await?;
        }
        for kind in RowKind::ALL {
            let events = json!([format!("{}.*", kind.resource())]);
            self.make_endpoint(kind.resource(), &json!({"events": events})).await?;
        }
        self.make_endpoint(CHANGED, &json!({"events": ["never.happens"]})).await?;
        self.make_sources().await?;
        self.make_flow(options).await
    }

    async fn make_endpoint(&self, name: &str, more: &Value) -> Result<()> {
        let url = self.receiver.url(&format!("/{name}"));
        let endpoint = merged(json!({"name": name, "url": url}), more);
        self.node(0)?.post("/api/v1/endpoints", &endpoint).await.map(drop)
    }

    /// Makes both sources, and waits for the end of their first run.
    async fn make_sources(&self) -> Result<()> {
        self.table.execute("CREATE TABLE orders (k BIGINT PRIMARY KEY, v BIGINT)").await?;
        let database = json!({"url": self.table.url(), "every": "1s", "own_tables": ["orders"], "pause": "0s"});
        let list = json!({
            "path": "/wares", "resource": "ware", "created": "ware.created",
            "updated": "ware.updated", "rows": "/result/items", "key": "number",
            "timestamp": "modified",
        });
        let poll = json!({
            "url": format!("{}/erp", self.site.url()), "every": "1s", "lists": [list],
            "auth": {"header": "X-Token", "prefix": ""},
            "since": {"parameter": "changed_after", "format": "iso"},
            "paging": {"page": "p", "size": "n", "rows": 40},
        });
        let first = self.node(0)?;
        for source in [
            json!({"name": "orders", "kind": "database", "secret": "unused", "database": database}),
            json!({"name": "ware", "kind": "poll", "secret": KEY, "poll": poll}),
        ] {
            first.post("/api/v1/sources", &source).await?;
        }
        for kind in RowKind::ALL {
            let path = format!("/api/v1/sources/{}", kind.resource());
            until("the first run of a source", async || {
                Ok(first
                    .get(&path)
                    .await?
                    .pointer("/run/finished_at")
                    .is_some_and(Value::is_string))
            })
            .await?;
        }
        Ok(())
    }

    /// Makes the flow, as the last object: a node that knows it knows all.
    async fn make_flow(&self, options: &Options) -> Result<()> {
        let file = options.guests.join("caller.wasm");
        let component = std::fs::read(&file).with_context(|| file.display().to_string())?;
        let asks = json!({"name": "caller", "version": "1.0.0", "capabilities": {"state": {}}});
        let upload = Call::post(
            "/api/v1/modules/caller?activate=true",
            "application/wasm",
            with_manifest(component, &asks),
        );
        let first = self.node(0)?;
        let answer = first.client().send(upload).await?;
        ensure!(answer.status.is_success(), "{}: {}", answer.status, answer.text());
        let (events, endpoint) =
            (CaptureKind::Counted.event_type(), CaptureKind::Counted.endpoint());
        let flow = json!({"name": "calls", "events": [events], "modules": [{"name": "caller"}], "endpoints": [endpoint]});
        first.post("/api/v1/flows", &flow).await.map(drop)
    }

    /// Captures on a node until each kind of event is delivered. A node that does not know an
    /// endpoint yet makes no delivery for it.
    async fn warm_up(&self, node: &Node) -> Result<()> {
        let record = format!("warm-{}", node.number);
        for kind in CaptureKind::ALL {
            let mut number = 0;
            until("a delivery of each node", async || {
                number += 1;
                node.capture(&event(kind, &record, number)).await?;
                sleep(PACE).await;
                let arrivals = self.receiver.arrivals(&format!("/{}", kind.endpoint()));
                Ok(arrivals.iter().any(|one| String::from_utf8_lossy(&one.body).contains(&record)))
            })
            .await?;
        }
        Ok(())
    }
}

impl NodeStore {
    fn url(&self) -> String {
        match self {
            Self::Single(database) => database.url(),
            Self::Pair(pair) => format!("{}?target_session_attrs=read-write", pair.url()),
        }
    }
}

fn set_common(settings: &mut Settings) {
    settings.environment("WAYBILL_SECRET_KEY", SECRET_KEY);
    let mut waits = vec!["200ms"; 10];
    waits.extend(vec!["2s"; 40]);
    settings.set("delivery.retry_schedule", &json!(waits).to_string());
    // Longer than the interval at which the clients look at /readyz.
    settings.set("shutdown.drain", "1500ms");
    settings.set("alerts.disk_free", "{ enabled = false }");
}

/// Starts all nodes at the same moment. The first one gets the clock that can be set.
fn start_nodes(
    settings: &Settings,
    count: usize,
    lines: &[DatabaseLine],
    clock: Option<&WallClock>,
) -> Result<Vec<Node>> {
    let start = |number: usize| {
        let mut settings = settings.clone();
        if let Some(line) = lines.get(number) {
            settings.database = line.url(&settings.database)?;
        }
        if let Some(clock) = clock.filter(|_| number == 0) {
            clock.install(&mut settings);
        }
        Node::start(number, settings)
    };
    std::thread::scope(|threads| {
        let starts: Vec<_> =
            (0..count).map(|number| threads.spawn(move || start(number))).collect();
        let ends = starts.into_iter().map(|start| match start.join() {
            Ok(node) => node,
            Err(_) => bail!("a node's start panicked"),
        });
        ends.collect()
    })
}

/// Asks until something is reached.
pub(crate) async fn until(
    what: &str,
    mut reached: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let began = Instant::now();
    while !reached().await? {
        ensure!(began.elapsed() < LIMIT, "{what} took longer than {LIMIT:?}");
        sleep(PACE).await;
    }
    Ok(())
}

/// Returns the first object with the members of the second.
fn merged(mut object: Value, more: &Value) -> Value {
    if let (Some(object), Some(more)) = (object.as_object_mut(), more.as_object()) {
        object.extend(more.clone());
    }
    object
}
