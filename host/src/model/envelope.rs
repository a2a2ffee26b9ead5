//! The five forms of a delivery's body, by name. `delivery::envelope` renders them.

use serde::{Deserialize, Serialize};

/// The form of a delivery's body.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
#[schema(as = Envelope)]
pub enum EnvelopeForm {
    /// Waybill's own.
    #[default]
    Default,
    /// As Standard Webhooks recommends it.
    Standard,
    /// CloudEvents, structured mode.
    #[serde(rename = "cloudevents")]
    CloudEvents,
    /// CloudEvents, binary mode.
    #[serde(rename = "cloudevents-binary")]
    CloudEventsBinary,
    /// The data alone, as it was captured.
    Raw,
}

impl EnvelopeForm {
    /// Its name.
    #[cfg(test)]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Standard => "standard",
            Self::CloudEvents => "cloudevents",
            Self::CloudEventsBinary => "cloudevents-binary",
            Self::Raw => "raw",
        }
    }
}
