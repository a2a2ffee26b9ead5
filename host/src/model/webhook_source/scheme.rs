//! The scheme of a webhook source: one of the table of senders.

use super::proof::SenderProof;
use super::senders::{SENDERS, WebhookSender};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};

/// The sender of webhooks, which decides how they are verified and read.
#[derive(Clone, Copy)]
pub struct SenderScheme(&'static WebhookSender);

impl SenderScheme {
    /// Returns the scheme with a name.
    pub fn named(name: &str) -> Option<Self> {
        SENDERS.iter().find(|sender| sender.name == name).map(Self)
    }

    /// Returns the sender's entry in the table.
    pub const fn sender(self) -> &'static WebhookSender {
        self.0
    }

    /// Returns the name of the scheme.
    pub const fn as_str(self) -> &'static str {
        self.0.name
    }

    /// Whether requests carry something that the source's secret proves.
    pub fn has_secret(self) -> bool {
        match self.0.proof {
            SenderProof::Hmac(_)
            | SenderProof::Basic
            | SenderProof::Token(_)
            | SenderProof::AsSet => true,
            // A certificate is not a secret.
            SenderProof::Nothing | SenderProof::PayPal => false,
        }
    }

    /// Whether requests carry a signature.
    pub fn is_signed(self) -> bool {
        match self.0.proof {
            SenderProof::Hmac(_) | SenderProof::PayPal => true,
            SenderProof::AsSet => self.as_str() == "hmac",
            SenderProof::Nothing | SenderProof::Basic | SenderProof::Token(_) => false,
        }
    }
}

impl PartialEq for SenderScheme {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for SenderScheme {}

impl fmt::Debug for SenderScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for SenderScheme {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for SenderScheme {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<'_, str>::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| serde::de::Error::custom(unknown(&name)))
    }
}

/// Lists the schemes. The message does not repeat the given text, which may be a secret in the
/// wrong place.
fn unknown(name: &str) -> String {
    let distance =
        |sender: &&WebhookSender| strsim::osa_distance(&name.to_lowercase(), sender.name);
    let nearest = SENDERS.iter().min_by_key(distance).filter(|sender| distance(sender) <= 2);
    let hint = nearest.map(|sender| format!("; did you mean `{}`?", sender.name));
    let names: Vec<&str> = SENDERS.iter().map(|sender| sender.name).collect();
    format!(
        "there is no such scheme{}; the schemes are {}",
        hint.unwrap_or_default(),
        names.join(", ")
    )
}

impl utoipa::PartialSchema for SenderScheme {
    fn schema() -> RefOr<Schema> {
        let lines = SENDERS.iter().map(|sender| format!("- `{}`: {}.", sender.name, sender.title));
        let lines: Vec<String> = lines.collect();
        let description = format!(
            "The sender, which decides how requests are verified and read.\n\n{}",
            lines.join("\n")
        );
        let object = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .description(Some(description))
            .enum_values(Some(SENDERS.iter().map(|sender| sender.name)));
        RefOr::T(Schema::Object(object.build()))
    }
}

impl utoipa::ToSchema for SenderScheme {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("WebhookScheme")
    }
}
