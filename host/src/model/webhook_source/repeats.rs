//! How repeats of a webhook are recognised.

use http::HeaderName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// How a repeated request is recognised. Written as `id`, `header:NAME`, `signature` or `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepeatRule {
    /// By the sender's id for the event, from `places.id` or the usual place of the scheme's
    /// senders, for 24 hours.
    Id,
    /// By the value of this header, for 24 hours.
    Header(HeaderName),
    /// By the signature, for 24 hours.
    Signature,
    /// Not at all. Each request is a new event.
    None,
}

impl fmt::Display for RepeatRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => f.write_str("id"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Signature => f.write_str("signature"),
            Self::None => f.write_str("none"),
        }
    }
}

impl FromStr for RepeatRule {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "write `id`, `header:NAME`, `signature` or `none`";
        match text {
            "id" => Ok(Self::Id),
            "signature" => Ok(Self::Signature),
            "none" => Ok(Self::None),
            _ => {
                let name = text.strip_prefix("header:").and_then(|name| name.parse().ok());
                name.map(Self::Header).ok_or(FORM)
            }
        }
    }
}

impl Serialize for RepeatRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RepeatRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
