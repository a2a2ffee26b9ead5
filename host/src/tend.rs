//! Housekeeping: seeing what other nodes changed, forgetting what is no longer needed.

use crate::access::audit::Audit;
use crate::access::grant::LIFETIME;
use crate::journal::Journal;
use crate::journal::node::BEAT;
use crate::journal::objects::{Change, Kind, Object};
use crate::topology::live::{self, Live};
use serde::de::IgnoredAny;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often other nodes' changes are looked for, and calls go on record.
const WATCH: Duration = Duration::from_secs(1);
/// How often what is too old is forgotten.
const FORGET: Duration = Duration::from_mins(10);

/// What it looks after.
#[derive(Debug)]
pub struct Context {
    /// The record.
    pub journal: Journal,
    /// What is set.
    pub live: Live,
    /// Calls on their way to the journal.
    pub audit: Arc<Audit>,
    /// How long calls are kept.
    pub retention: Duration,
}

/// Runs until told to stop. Each duty by itself: forgetting may take long, and a node that does not tell
/// the others that it is there loses its leases.
pub async fn run(context: Context, stop: CancellationToken) {
    tokio::join!(
        every(WATCH, &stop, || context.watch()),
        every(BEAT, &stop, || context.beat()),
        every(FORGET, &stop, || context.forget()),
    );
}

/// Does a duty again and again; what is under way when told to stop is left.
async fn every<D: Future<Output = Result<(), live::Error>>>(
    period: Duration,
    stop: &CancellationToken,
    duty: impl Fn() -> D,
) {
    let mut tick = tokio::time::interval(period);
    let done = async {
        loop {
            tick.tick().await;
            if let Err(error) = duty().await {
                let error = crate::journal::chain(&error);
                tracing::warn!(error, "housekeeping has to wait for its next turn");
            }
        }
    };
    tokio::select! {
        () = done => {}
        () = stop.cancelled() => {}
    }
}

impl Context {
    /// Has calls and the use of tokens written, and takes up what other nodes changed.
    async fn watch(&self) -> Result<(), live::Error> {
        self.audit.write(self.live.fresh_usages());
        self.live.refresh().await
    }

    /// Tells the other nodes that this one is there.
    async fn beat(&self) -> Result<(), live::Error> {
        Ok(self.journal.patrol_nodes().await?)
    }

    /// Forgets what was kept for sources that are deleted.
    async fn forget_sources(&self) -> Result<(), live::Error> {
        let states = self.journal.source_states().await?;
        // After the states were read: a source that has one is older than what is set now.
        self.live.refresh().await?;
        let current = self.live.current();
        for state in states.into_iter().filter(|state| !state.running) {
            if current.sources().all(|source| source.id != state.source) {
                self.journal.forget_source(state.source).await?;
            }
        }
        Ok(())
    }

    /// Forgets what is too old.
    async fn forget(&self) -> Result<(), live::Error> {
        let now = self.journal.clock().now();
        let keys = self.journal.forget_capture_keys().await?;
        let calls = self.journal.forget_calls(now.before(self.retention)).await?;
        self.forget_sources().await?;
        tracing::debug!(keys, calls, "forgot keys of repeats and calls on record");
        // A short-lived token that has ended need not be known as revoked.
        let revoked: Vec<Object<IgnoredAny>> = self.journal.objects(Kind::RevokedGrant).await?;
        let over = revoked.iter().filter(|object| object.created_at.after(LIFETIME) < now);
        let over = over.map(|object| Change::Delete { kind: Kind::RevokedGrant, id: object.id });
        let over: Vec<Change> = over.collect();
        if over.is_empty() { Ok(()) } else { Ok(self.journal.change(&over).await?) }
    }
}
