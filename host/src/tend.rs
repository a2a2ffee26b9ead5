//! Housekeeping: seeing what other nodes changed, forgetting what is no longer needed.

use crate::journal::Journal;
use crate::journal::node::BEAT;
use crate::topology::live::Live;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often other nodes' changes are looked for.
const WATCH: Duration = Duration::from_secs(1);
/// How often keys of repeats are forgotten.
const FORGET: Duration = Duration::from_mins(10);

/// Runs until told to stop.
pub async fn run(journal: Journal, live: Live, stop: CancellationToken) {
    let mut watch = tokio::time::interval(WATCH);
    let mut beat = tokio::time::interval(BEAT);
    let mut forget = tokio::time::interval(FORGET);
    loop {
        tokio::select! {
            _ = watch.tick() => {
                if let Err(error) = live.refresh().await {
                    tracing::warn!(%error, "cannot see whether something was changed");
                }
            }
            _ = beat.tick() => {
                if let Err(error) = journal.patrol_nodes().await {
                    tracing::warn!(%error, "cannot tell the other nodes that this one is there");
                }
            }
            _ = forget.tick() => match journal.forget_capture_keys().await {
                Ok(0) => {}
                Ok(keys) => tracing::debug!(keys, "forgot keys of repeats"),
                Err(error) => tracing::warn!(%error, "cannot forget keys of repeats"),
            },
            () = stop.cancelled() => return,
        }
    }
}
