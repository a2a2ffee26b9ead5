//! The faults: what happens to the nodes, their database, their lines and their clocks.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::Options;
use crate::changes::change_in_pairs;
use crate::database_line::DatabaseLine;
use crate::ledger::Ledger;
use crate::stage::{DatabaseServers, NodeStore, Stage, until};

/// After this time without a heartbeat, others take over a node's work (docs/nodes.md).
const LEASE: Duration = Duration::from_secs(10);

/// Seconds by which a node's clock is set.
const CLOCK_STEP: i64 = 12;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    Kill,
    StandStill,
    DatabaseRestart,
    DatabaseOutage,
    FailOver,
    BlackHole,
    HalfDead,
    ClockAhead,
    ClockBehind,
    Upgrade,
    Changes,
}

/// The time of a fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FaultSpan {
    pub(crate) began: Instant,
    /// Time from which everything must recover by itself.
    pub(crate) ended: Instant,
}

impl FaultKind {
    pub(crate) const ALL: [Self; 11] = [
        Self::Kill,
        Self::StandStill,
        Self::DatabaseRestart,
        Self::DatabaseOutage,
        Self::FailOver,
        Self::BlackHole,
        Self::HalfDead,
        Self::ClockAhead,
        Self::ClockBehind,
        Self::Upgrade,
        Self::Changes,
    ];

    /// Returns the name for `--only` and the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::StandStill => "standstill",
            Self::DatabaseRestart => "database-restart",
            Self::DatabaseOutage => "database-outage",
            Self::FailOver => "fail-over",
            Self::BlackHole => "black-hole",
            Self::HalfDead => "half-dead",
            Self::ClockAhead => "clock-ahead",
            Self::ClockBehind => "clock-behind",
            Self::Upgrade => "upgrade",
            Self::Changes => "changes",
        }
    }

    /// Returns the description for `--list`.
    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of one node, which is started again at once",
            Self::StandStill => "SIGSTOP of one node for longer than its lease, then SIGCONT",
            Self::DatabaseRestart => "restart of PostgreSQL, in order or after a crash",
            Self::DatabaseOutage => "PostgreSQL is down for 60 s (8 s with --quick)",
            Self::FailOver => "PostgreSQL crashes, and its standby is promoted",
            Self::BlackHole => "the line of one node to PostgreSQL forwards nothing for 15 s",
            Self::HalfDead => "all present connections to PostgreSQL go silent, new ones work",
            Self::ClockAhead => "the clock of one node is set 12 s ahead",
            Self::ClockBehind => "the clock of one node is set 12 s back",
            Self::Upgrade => "each node in turn is drained and started again, from --old if given",
            Self::Changes => "200 pairs of changes of one endpoint (40 with --quick) on two nodes",
        }
    }

    pub(crate) fn needs_standby(self) -> bool {
        self == Self::FailOver
    }

    pub(crate) fn needs_lines(self) -> bool {
        matches!(self, Self::BlackHole | Self::HalfDead)
    }

    pub(crate) fn sets_clock(self) -> bool {
        matches!(self, Self::ClockAhead | Self::ClockBehind)
    }

    /// Returns whether the fault must not cut or refuse any request of a client.
    pub(crate) fn serves_everyone(self) -> bool {
        matches!(self, Self::ClockAhead | Self::ClockBehind | Self::Upgrade | Self::Changes)
    }

    /// Lets the fault happen, from its beginning to the moment from which all must recover.
    pub(crate) async fn strike(
        self,
        stage: &mut Stage,
        servers: &mut DatabaseServers,
        options: &Options,
        random: &mut StdRng,
        ledger: &Arc<Ledger>,
    ) -> Result<FaultSpan> {
        let victim = random.random_range(0..options.nodes);
        let began = Instant::now();
        match self {
            Self::Kill => {
                stage.node(victim)?.kill9();
                stage.node(victim)?.start_again()?;
            }
            Self::StandStill => {
                stage.node(victim)?.stand_still()?;
                let more = Duration::from_millis(random.random_range(3_000..6_000));
                sleep(LEASE + more).await;
                stage.node(victim)?.go_on()?;
            }
            Self::DatabaseRestart => restart_database(servers, random.random_bool(0.5))?,
            Self::DatabaseOutage => {
                block_in_place(|| servers.nodes.stop())?;
                sleep(Duration::from_secs(if options.quick { 8 } else { 60 })).await;
                block_in_place(|| servers.nodes.resume())?;
            }
            Self::FailOver => fail_over(stage).await?,
            Self::BlackHole => {
                let line = stage.lines.get(victim).context("each node has a line")?;
                line.silence_all(true);
                sleep(LEASE + Duration::from_secs(5)).await;
                line.silence_all(false);
            }
            Self::HalfDead => {
                stage.lines.iter().for_each(DatabaseLine::silence_present);
            }
            Self::ClockAhead => set_clock(stage, CLOCK_STEP).await?,
            Self::ClockBehind => set_clock(stage, -CLOCK_STEP).await?,
            Self::Upgrade => upgrade(stage, options)?,
            Self::Changes => {
                let (nodes, ledger) = (Arc::clone(&stage.nodes), Arc::clone(ledger));
                let pairs = if options.quick { 40 } else { 200 };
                let never = Arc::new(AtomicBool::new(false));
                change_in_pairs(nodes, ledger, never, pairs, Duration::ZERO).await;
            }
        }
        Ok(FaultSpan { began, ended: self.end(began) })
    }

    /// Returns the time from which all must recover. Of silent connections nobody is told, so it
    /// begins when they go silent.
    fn end(self, began: Instant) -> Instant {
        if self == Self::HalfDead { began } else { Instant::now() }
    }
}

fn restart_database(servers: &mut DatabaseServers, crashes: bool) -> Result<()> {
    block_in_place(|| {
        if crashes {
            servers.nodes.crash()?;
        } else {
            servers.nodes.stop()?;
        }
        servers.nodes.resume()
    })
}

async fn fail_over(stage: &mut Stage) -> Result<()> {
    let NodeStore::Pair(pair) = &mut stage.store else { return Ok(()) };
    block_in_place(|| pair.primary.crash())?;
    pair.promote().await
}

/// Sets the first node's clock, waits until the nodes have noticed, and leaves it so for longer
/// than a lease. Then the clock is right again.
async fn set_clock(stage: &Stage, seconds: i64) -> Result<()> {
    let clock = stage.clock.as_ref().context("the round has a clock")?;
    clock.set_ahead(seconds)?;
    let other = stage.node(1)?;
    until("the skew of a node's clock", async || {
        let nodes = other.get("/api/v1/nodes").await?;
        let skew = |node: &Value| node.get("clock_skew_ms").and_then(Value::as_i64);
        let mut skews = nodes.as_array().into_iter().flatten().filter_map(skew);
        Ok(skews.any(|skew| (skew - seconds * 1_000).abs() < 3_000))
    })
    .await?;
    sleep(LEASE + Duration::from_secs(2)).await;
    clock.set_ahead(0)
}

/// Drains each node and starts the present program in its place.
fn upgrade(stage: &Stage, options: &Options) -> Result<()> {
    for node in stage.nodes.iter() {
        node.change_settings(|settings| settings.binary.clone_from(&options.program));
        node.terminate()?;
        node.start_again()?;
    }
    Ok(())
}
