//! A source made ready: what checks its requests, and how it is doing.

use crate::crypto::digest::ShortDigest;
use crate::model::secrets::SigningSecrets;
use crate::model::source::Source;
use crate::model::timing::SourceTiming;
use crate::signing::webhook::WebhookVerifier;
use crate::time::timestamp::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A source that is in use.
#[derive(Debug)]
pub struct SourceRuntime {
    /// What is set.
    pub source: Source,
    /// Its secrets, if it has any: what others sign with, or what it shows others.
    pub secrets: Option<SigningSecrets>,
    /// Whether its secrets cannot be read with the present key. Nothing is taken from it until they
    /// are entered again.
    pub locked: bool,
    /// Checks its webhooks, if it receives any.
    pub verifier: Option<WebhookVerifier>,
    /// When it runs, if Waybill runs it.
    pub timing: Option<SourceTiming>,
    /// How it is doing.
    pub health: Arc<SourceHealth>,
}

impl SourceRuntime {
    /// Makes a source ready.
    pub fn new(
        source: Source,
        secrets: Option<SigningSecrets>,
        locked: bool,
        health: Arc<SourceHealth>,
    ) -> Self {
        let nothing = SigningSecrets { current: String::new(), previous: None };
        let verifier = source.settings.webhook.as_ref().map(|webhook| {
            let secrets = secrets.as_ref().unwrap_or(&nothing);
            WebhookVerifier::new(webhook, secrets)
        });
        let timing = source.settings.timing();
        Self { source, secrets, locked, verifier, timing, health }
    }
}

impl SourceRuntime {
    /// What it shows others, or others sign with.
    pub fn secret(&self) -> Option<&str> {
        self.secrets.as_ref().map(|secrets| secrets.current.as_str())
    }
}

/// How a source is doing since the server started; it outlives changes of the source.
#[derive(Debug, Default)]
pub struct SourceHealth {
    figures: Mutex<SourceFigures>,
    /// Tells a request that comes again from one that differs from the request before it.
    pub sequence: RequestSequence,
}

/// How a source is doing since the server started.
#[derive(Debug, Default, Clone, Serialize, utoipa::ToSchema)]
#[schema(as = Figures)]
pub struct SourceFigures {
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

impl SourceHealth {
    fn lock(&self) -> MutexGuard<'_, SourceFigures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it stands.
    pub fn figures(&self) -> SourceFigures {
        self.lock().clone()
    }

    /// Notes an event, or the repeat of one.
    pub fn note_captured(&self, duplicate: bool, now: Timestamp) {
        let mut figures = self.lock();
        if duplicate {
            figures.duplicates += 1;
        } else {
            figures.captured += 1;
        }
        figures.last_success_at = Some(now);
    }

    /// Notes that a run came to its end.
    pub fn note_success(&self, now: Timestamp) {
        self.lock().last_success_at = Some(now);
    }

    /// Notes why a run did not.
    pub fn note_failure(&self, why: &str, now: Timestamp) {
        let mut figures = self.lock();
        figures.last_error_at = Some(now);
        figures.last_error = Some(why.to_owned());
    }

    /// Notes that something was refused.
    pub fn note_refusal(&self, reason: &'static str, detail: &str, now: Timestamp) {
        let mut figures = self.lock();
        *figures.refused.entry(reason).or_default() += 1;
        figures.last_error_at = Some(now);
        figures.last_error = Some(detail.to_owned());
    }
}

/// Counts how often a source's requests changed since the server started.
#[derive(Debug, Default)]
pub struct RequestSequence(Mutex<(Option<ShortDigest>, u64)>);

/// A request's place among those of its source.
#[derive(Debug, Clone, Copy)]
pub struct RequestPlace {
    /// The number of the request before it if that has the same fingerprint, else the next one.
    pub number: u64,
    /// Whether an earlier request may have the same number and fingerprint: the one before it has,
    /// or it is the first since the start, and the one before it came to the process before.
    pub may_repeat: bool,
}

impl RequestSequence {
    /// Returns the place of the request that comes now.
    pub fn place(&self, fingerprint: ShortDigest) -> RequestPlace {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, number) = &mut *state;
        let may_repeat = last.is_none_or(|last| last == fingerprint);
        if !may_repeat {
            *number += 1;
        }
        *last = Some(fingerprint);
        RequestPlace { number: *number, may_repeat }
    }
}
