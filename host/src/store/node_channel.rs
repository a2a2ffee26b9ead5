//! Follows the notices of other nodes.

use super::db::NodeListener;
use super::node_notice::{NODE_CHANNEL, NodeNotice};
use super::watch::EventNotice;
use super::{EventStore, StoreError};
use crate::error_chain::error_chain;
use std::time::Duration;

/// The first and the longest wait before a reconnection.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

impl EventStore {
    /// Follows the notices of other nodes and reconnects until this future is dropped. Ends at once
    /// on SQLite, which has one node, and behind a pooler in transaction mode.
    pub async fn follow_nodes(&self) {
        let mut wait = RECONNECT.0;
        loop {
            let lost = match self.pool().listen_to_nodes(NODE_CHANNEL).await {
                Ok(Some(listener)) => {
                    wait = RECONNECT.0;
                    self.follow_listener(listener).await
                }
                Ok(None) => return,
                Err(error) => error,
            };
            tracing::warn!(
                error = %error_chain(&lost),
                "lost the connection for notices of other nodes; reconnecting"
            );
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RECONNECT.1);
        }
    }

    /// Follows one connection. Returns the error that ended it.
    async fn follow_listener(&self, mut listener: NodeListener) -> StoreError {
        // From here on no further notice is lost.
        self.watchers().interrupt_watches();
        self.inner.settings_news.notify_one();
        loop {
            match listener.next_payload().await {
                Ok(payload) => {
                    NodeNotice::unpack(&payload).for_each(|told| self.take_notice(&told));
                }
                Err(error) => return error,
            }
        }
    }

    fn take_notice(&self, notice: &NodeNotice) {
        match *notice {
            NodeNotice::Attempted { event, delivery, status, response_status, duration_us } => {
                self.watchers().notify_watchers(event, || EventNotice::Attempted {
                    delivery,
                    status,
                    response_status,
                    duration: Duration::from_micros(duration_us),
                });
            }
            // This node's own notices arrive too.
            NodeNotice::SettingsChanged { node } => {
                if node != self.inner.node {
                    self.inner.settings_news.notify_one();
                }
            }
            NodeNotice::Entered { node } => {
                if node != self.inner.node {
                    self.inner.followers.others.note_other();
                }
            }
        }
    }

    /// Waits until another node has changed the settings, or may have done so since the last call.
    /// On SQLite it waits for ever.
    pub async fn wait_for_changes(&self) {
        self.inner.settings_news.notified().await;
    }
}
