//! Housekeeping: seeing what other nodes changed, forgetting what is no longer needed.

use crate::access::audit::Audit;
use crate::access::grant::LIFETIME;
use crate::journal::Journal;
use crate::journal::node::BEAT;
use crate::journal::objects::{Change, Kind, Object};
use crate::topology::live::Live;
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

/// Runs until told to stop.
pub async fn run(context: Context, stop: CancellationToken) {
    let mut watch = tokio::time::interval(WATCH);
    let mut beat = tokio::time::interval(BEAT);
    let mut forget = tokio::time::interval(FORGET);
    loop {
        tokio::select! {
            _ = watch.tick() => {
                context.audit.write(context.live.fresh_usages());
                if let Err(error) = context.live.refresh().await {
                    tracing::warn!(%error, "cannot see whether something was changed");
                }
            }
            _ = beat.tick() => {
                if let Err(error) = context.journal.patrol_nodes().await {
                    tracing::warn!(%error, "cannot tell the other nodes that this one is there");
                }
            }
            _ = forget.tick() => {
                if let Err(error) = context.forget().await {
                    tracing::warn!(%error, "cannot forget what is too old");
                }
            }
            () = stop.cancelled() => return,
        }
    }
}

impl Context {
    async fn forget(&self) -> Result<(), crate::journal::Error> {
        let now = self.journal.clock().now();
        let keys = self.journal.forget_capture_keys().await?;
        let calls = self.journal.forget_calls(now.before(self.retention)).await?;
        tracing::debug!(keys, calls, "forgot keys of repeats and calls on record");
        // A short-lived token that has ended need not be known as revoked.
        let revoked: Vec<Object<IgnoredAny>> = self.journal.objects(Kind::RevokedGrant).await?;
        let over = revoked.iter().filter(|object| object.created_at.after(LIFETIME) < now);
        let over = over.map(|object| Change::Delete { kind: Kind::RevokedGrant, id: object.id });
        let over: Vec<Change> = over.collect();
        if over.is_empty() { Ok(()) } else { self.journal.change(&over).await }
    }
}
