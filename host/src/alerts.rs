//! Alerts: rules evaluate health, and send one notice when something goes wrong and one when it is
//! resolved.
//!
//! ```text
//!   measure ──► step (pure) ──► one commit: findings, memory, notices as events
//!                                  │                 └─► flows and endpoints, as any event
//!                                  └─► afterwards: log lines, the last-resort webhook
//! ```
//!
//! One node at a time has the duty to evaluate the rules. It holds a lease, which its commit
//! compares, so two nodes send one notice, and a node that stalled sends none. A restart repeats no
//! notice, because the table holds what was sent. A notice about an endpoint never goes to that
//! endpoint ([`Event::is_notice_about`](crate::model::event::Event::is_notice_about)).

pub mod alert_texts;
pub mod desk;
pub mod evaluate;
pub mod last_resort;
pub mod measure;
pub mod transitions;

pub use desk::AlertDesk;

use crate::alerts::last_resort::LastResort;
use crate::config::AlertsSection;
use crate::error_chain::error_chain;
use crate::net::http_client::DeliveryClient;
use crate::settings::live::LiveSettings;
use crate::store::{EventStore, StoreError};
use crate::time::timestamp::Timestamp;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long alerts are stored after they were resolved.
const KEPT: Duration = Duration::from_hours(30 * 24);

/// The path of the server's certificate, if it has one, and the function that reads when it ends.
#[derive(Debug, Clone)]
pub struct CertificateSource {
    pub path: Option<PathBuf>,
    pub read: fn(&Path) -> Option<Timestamp>,
}

impl CertificateSource {
    fn read_end(&self) -> Option<Timestamp> {
        self.path.as_deref().and_then(self.read)
    }
}

/// Everything that the evaluation of alerts needs.
#[derive(Debug)]
pub struct AlertContext {
    pub journal: EventStore,
    pub live: LiveSettings,
    pub client: DeliveryClient,
    pub settings: AlertsSection,
    pub desk: AlertDesk,
    pub data_dir: PathBuf,
    pub certificate: CertificateSource,
}

/// Evaluates the alerts at every interval, until told to stop.
pub async fn run_alerts(context: AlertContext, stop: CancellationToken) {
    if !context.settings.enabled {
        return;
    }
    let last_resort = LastResort::new(&context.settings);
    let mut tick = tokio::time::interval(context.settings.interval.get());
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return,
        }
        let look = context.look_once(last_resort.as_ref());
        tokio::select! {
            looked = look => if let Err(error) = looked {
                let error = error_chain(&error);
                tracing::warn!(error, "cannot evaluate the alerts; trying again after alerts.interval");
            },
            () = stop.cancelled() => return,
        }
    }
}

impl AlertContext {
    /// Evaluates the alerts once, if this node has the duty.
    async fn look_once(&self, last_resort: Option<&LastResort>) -> Result<(), StoreError> {
        if !self.journal.take_alert_duty().await? {
            self.desk.leave_board();
            return Ok(());
        }
        let now = self.journal.clock().now();
        evaluate::evaluate_rules(self, last_resort.is_some(), now).await?;
        let open = self.journal.list_alerts().await?;
        self.desk.note_board(&open);
        if let Some(last_resort) = last_resort {
            last_resort.send_unsent(&self.client, &self.journal, open).await?;
        }
        self.journal.forget_alerts(now.before(KEPT)).await.map(drop)
    }
}
