//! A source prepared for use: the verifier of its requests, and its health.

use crate::crypto::digest::ShortDigest;
use crate::model::secrets::SigningSecrets;
use crate::model::source::Source;
use crate::model::timing::SourceTiming;
use crate::settings::ModuleStage;
use crate::signing::webhook::WebhookVerifier;
use crate::time::timestamp::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A source that is in use.
#[derive(Debug)]
pub struct SourceRuntime {
    pub source: Source,
    /// The secrets of the source: keys with which senders sign, or a secret that the source shows
    /// to others.
    pub secrets: Option<SigningSecrets>,
    /// Whether the secrets cannot be decrypted with the present key. The source accepts nothing
    /// until they are entered again.
    pub locked: bool,
    /// Verifies the source's webhooks, if it receives any.
    pub verifier: Option<WebhookVerifier>,
    /// The module that makes the source's events, if one does.
    pub module: Option<ModuleStage>,
    /// Schedule of the source, if Waybill runs it.
    pub timing: Option<SourceTiming>,
    pub health: Arc<SourceHealth>,
}

impl SourceRuntime {
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
        Self { source, secrets, locked, verifier, module: None, timing, health }
    }
}

impl SourceRuntime {
    /// Returns the secret that the source shows to others, or the key with which senders sign.
    pub fn secret(&self) -> Option<&str> {
        self.secrets.as_ref().map(|secrets| secrets.current.as_str())
    }
}

/// Health of a source since the server started. It survives changes of the source.
#[derive(Debug, Default)]
pub struct SourceHealth {
    figures: Mutex<SourceFigures>,
    /// Distinguishes a repeated request from one that differs from the request before it.
    pub sequence: RequestSequence,
}

/// Figures about a source since the server started.
#[derive(Debug, Default, Clone, Serialize, utoipa::ToSchema)]
#[schema(as = Figures)]
pub struct SourceFigures {
    /// Number of captured events.
    pub captured: u64,
    /// Number of recognised repeats.
    pub duplicates: u64,
    /// Number of refusals, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Time of the last captured event or recognised repeat.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_success_at: Option<Timestamp>,
    /// Time of the last refusal or failure.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_error_at: Option<Timestamp>,
    /// Description of the last refusal or failure.
    pub last_error: Option<String>,
}

impl SourceHealth {
    fn lock(&self) -> MutexGuard<'_, SourceFigures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the present figures.
    pub fn figures(&self) -> SourceFigures {
        self.lock().clone()
    }

    /// Records an event, or the repeat of one.
    pub fn note_captured(&self, duplicate: bool, now: Timestamp) {
        let mut figures = self.lock();
        if duplicate {
            figures.duplicates += 1;
        } else {
            figures.captured += 1;
        }
        figures.last_success_at = Some(now);
    }

    /// Records that a run completed.
    pub fn note_success(&self, now: Timestamp) {
        self.lock().last_success_at = Some(now);
    }

    /// Records why a run failed.
    pub fn note_failure(&self, why: &str, now: Timestamp) {
        let mut figures = self.lock();
        figures.last_error_at = Some(now);
        figures.last_error = Some(why.to_owned());
    }

    /// Records a refusal.
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

/// The position of a request among those of its source.
#[derive(Debug, Clone, Copy)]
pub struct RequestPosition {
    /// The number of the previous request if that has the same fingerprint, otherwise the next
    /// number.
    pub number: u64,
    /// Whether an earlier request may have the same number and fingerprint: the previous request
    /// has, or this is the first one since the start and the previous process may have received the
    /// one before.
    pub may_repeat: bool,
}

impl RequestSequence {
    /// Returns the position of the present request.
    pub fn place(&self, fingerprint: ShortDigest) -> RequestPosition {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, number) = &mut *state;
        let may_repeat = last.is_none_or(|last| last == fingerprint);
        if !may_repeat {
            *number += 1;
        }
        *last = Some(fingerprint);
        RequestPosition { number: *number, may_repeat }
    }
}
