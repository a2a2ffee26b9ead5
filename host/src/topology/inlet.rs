//! A source made ready: what checks its requests, and how it is doing.

use crate::capture::verify::Verifier;
use crate::domain::endpoint::Secrets;
use crate::domain::source::Source;
use crate::domain::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A source that is in use.
#[derive(Debug)]
pub struct Inlet {
    /// What is set.
    pub source: Source,
    /// Its secrets, if it has any.
    pub secrets: Option<Secrets>,
    /// Checks its webhooks, if it receives any.
    pub verifier: Option<Verifier>,
    /// How it is doing.
    pub health: Arc<Health>,
}

impl Inlet {
    /// Makes a source ready.
    pub fn new(source: Source, secrets: Option<Secrets>, health: Arc<Health>) -> Self {
        let nothing = Secrets { current: String::new(), previous: None };
        let verifier = source.settings.webhook.as_ref().map(|webhook| {
            let secrets = secrets.as_ref().unwrap_or(&nothing);
            Verifier::new(webhook.scheme, webhook.tolerance.get(), secrets)
        });
        Self { source, secrets, verifier, health }
    }
}

/// How a source is doing since the server started; it outlives changes of the source.
#[derive(Debug, Default)]
pub struct Health(Mutex<Figures>);

/// How a source is doing since the server started.
#[derive(Debug, Default, Clone, Serialize, utoipa::ToSchema)]
pub struct Figures {
    /// Events captured.
    pub captured: u64,
    /// Repeats recognised.
    pub duplicates: u64,
    /// What was refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// When an event was last captured, or a repeat recognised.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_success_at: Option<Timestamp>,
    /// When something was last refused.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_error_at: Option<Timestamp>,
    /// Why.
    pub last_error: Option<String>,
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it stands.
    pub fn figures(&self) -> Figures {
        self.lock().clone()
    }

    /// Notes an event, or the repeat of one.
    pub fn captured(&self, duplicate: bool, now: Timestamp) {
        let mut figures = self.lock();
        if duplicate {
            figures.duplicates += 1;
        } else {
            figures.captured += 1;
        }
        figures.last_success_at = Some(now);
    }

    /// Notes that something was refused.
    pub fn refused(&self, reason: &'static str, detail: &str, now: Timestamp) {
        let mut figures = self.lock();
        *figures.refused.entry(reason).or_default() += 1;
        figures.last_error_at = Some(now);
        figures.last_error = Some(detail.to_owned());
    }
}
