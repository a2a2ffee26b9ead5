//! Gives and rotates secrets of endpoints and sources. Each has its own rule for valid secrets.

use super::problem::ApiProblem;
use crate::model::secrets::{GracedSecret, SigningSecrets};
use crate::signing::generate_secret;
use crate::time::span::TimeSpan;
use crate::time::timestamp::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;
use utoipa::ToSchema;

/// Longest grace period of a rotated secret.
const MAX_GRACE: Duration = Duration::from_hours(24);

/// Options for rotating a secret.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Rotation)]
pub struct SecretRotation {
    /// Time for which the old secret stays valid. Default and maximum: `24h`.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "24h")]
    grace: Option<TimeSpan>,
    /// The new secret. Default: a new one is made.
    #[serde(default)]
    secret: Option<String>,
}

impl SecretRotation {
    /// Returns whether the request contains the new secret.
    pub const fn has_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// Returns the secrets after the rotation.
    pub fn of(
        self,
        old: &SigningSecrets,
        now: Timestamp,
        check: impl Fn(&str) -> Result<(), ApiProblem>,
    ) -> Result<SigningSecrets, ApiProblem> {
        let grace = self.grace.map_or(MAX_GRACE, TimeSpan::get);
        if grace > MAX_GRACE {
            return Err(ApiProblem::fault("grace", "at most `24h`"));
        }
        self.secret.as_deref().map_or(Ok(()), check)?;
        let current = self.secret.unwrap_or_else(|| generate_secret(&mut rand::rng()));
        let previous = GracedSecret { secret: old.current.clone(), until: now.after(grace) };
        Ok(SigningSecrets { current, previous: Some(previous) })
    }
}

/// Returns the secrets of an object: the given one, the stored ones, or a new one. A given secret
/// that equals the present one does not change a rotation.
pub fn choose_secrets(given: Option<String>, kept: Option<&SigningSecrets>) -> SigningSecrets {
    match (given, kept) {
        (Some(given), Some(kept)) if given == kept.current => kept.clone(),
        (None, Some(kept)) => kept.clone(),
        (Some(current), _) => SigningSecrets { current, previous: None },
        (None, None) => {
            SigningSecrets { current: generate_secret(&mut rand::rng()), previous: None }
        }
    }
}

/// Splits off the secret, which does not belong to the settings.
pub fn split_secret(
    object: &mut Map<String, Value>,
    check: impl Fn(&str) -> Result<(), ApiProblem>,
) -> Result<Option<String>, ApiProblem> {
    match object.remove("secret") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(secret)) => check(&secret).map(|()| Some(secret)),
        Some(_) => {
            Err(ApiProblem::fault("secret", "must be a text; leave it out for a new secret"))
        }
    }
}
