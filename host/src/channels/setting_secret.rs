//! A secret among the settings of a channel.

use serde::Deserialize;
use std::fmt;

/// A secret from the settings of an endpoint. It is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SettingSecret(String);

impl SettingSecret {
    /// Wraps a secret that is stored elsewhere.
    pub fn new(secret: &str) -> Self {
        Self(secret.to_owned())
    }

    /// Returns the secret.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SettingSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SettingSecret(***)")
    }
}
