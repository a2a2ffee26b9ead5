//! Secrets of endpoints and sources, and the time of grace of a rotated one.

use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The secrets of an endpoint or a source. They are stored encrypted and never shown again after
/// creation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningSecrets {
    /// The secret that signs new deliveries.
    pub current: String,
    /// The rotated secret that also signs new deliveries until its time of grace ends.
    pub previous: Option<GracedSecret>,
}

/// A rotated secret in its time of grace.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GracedSecret {
    pub secret: String,
    /// End of the time of grace.
    pub until: Timestamp,
}

impl fmt::Debug for SigningSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(hidden)")
    }
}

impl fmt::Debug for GracedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GracedSecret(hidden until {})", self.until)
    }
}

/// Keys that were prepared from [`SigningSecrets`].
pub struct RotatedKeys<K> {
    current: K,
    previous: Option<(K, Timestamp)>,
}

impl<K> RotatedKeys<K> {
    /// Prepares a key of each secret.
    pub fn prepare<E>(
        secrets: &SigningSecrets,
        prepare: impl Fn(&str) -> Result<K, E>,
    ) -> Result<Self, E> {
        let graced = secrets.previous.as_ref();
        let previous = graced.map(|graced| Ok((prepare(&graced.secret)?, graced.until)));
        Ok(Self { current: prepare(&secrets.current)?, previous: previous.transpose()? })
    }

    /// Returns the key of the current secret.
    pub fn current(&self) -> &K {
        &self.current
    }

    /// Returns the keys that are valid at a time, the current one first. The previous one is valid
    /// until its time of grace ends.
    pub fn valid_at(&self, at: Timestamp) -> impl Iterator<Item = &K> {
        let graced = self.previous.iter().filter(move |(_, until)| at < *until);
        std::iter::once(&self.current).chain(graced.map(|(key, _)| key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_secret_is_valid_until_its_grace_ends() {
        let until = Timestamp::from_micros(100);
        let previous = Some(GracedSecret { secret: "old".to_owned(), until });
        let secrets = SigningSecrets { current: "new".to_owned(), previous };
        let keys = RotatedKeys::prepare(&secrets, |text| Ok::<_, ()>(text.to_owned())).unwrap();
        let at =
            |micros| keys.valid_at(Timestamp::from_micros(micros)).cloned().collect::<Vec<_>>();
        assert_eq!(at(99), ["new", "old"]);
        assert_eq!(at(100), ["new"]);
        assert_eq!(keys.current(), "new");
    }
}
