//! The scheme of a webhook source: somebody of the table of senders.

use super::proof::Proof;
use super::senders::{SENDERS, Sender};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};

/// Who sends, and so how it signs and what its bodies look like.
#[derive(Clone, Copy)]
pub struct Scheme(&'static Sender);

impl Scheme {
    /// The scheme of this name.
    pub fn named(name: &str) -> Option<Self> {
        SENDERS.iter().find(|sender| sender.name == name).map(Self)
    }

    /// What is known of the sender.
    pub const fn sender(self) -> &'static Sender {
        self.0
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        self.0.name
    }

    /// Whether its requests bear something that its secret proves.
    pub fn has_secret(self) -> bool {
        match self.0.proof {
            Proof::Hmac(_) | Proof::Basic | Proof::Token(_) | Proof::AsSet => true,
            // A certificate is no secret.
            Proof::Nothing | Proof::PayPal => false,
        }
    }

    /// Whether its requests bear a signature.
    pub fn is_signed(self) -> bool {
        match self.0.proof {
            Proof::Hmac(_) | Proof::PayPal => true,
            Proof::AsSet => self.as_str() == "hmac",
            Proof::Nothing | Proof::Basic | Proof::Token(_) => false,
        }
    }
}

impl PartialEq for Scheme {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Scheme {}

impl fmt::Debug for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Scheme {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Scheme {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<'_, str>::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| serde::de::Error::custom(unknown(&name)))
    }
}

/// Says which schemes there are. The given text is not repeated: it may be a secret in the wrong place.
fn unknown(name: &str) -> String {
    let distance = |sender: &&Sender| strsim::osa_distance(&name.to_lowercase(), sender.name);
    let nearest = SENDERS.iter().min_by_key(distance).filter(|sender| distance(sender) <= 2);
    let hint = nearest.map(|sender| format!("; did you mean `{}`?", sender.name));
    let names: Vec<&str> = SENDERS.iter().map(|sender| sender.name).collect();
    format!("there is no such scheme{}; there are {}", hint.unwrap_or_default(), names.join(", "))
}

impl utoipa::PartialSchema for Scheme {
    fn schema() -> RefOr<Schema> {
        let lines = SENDERS.iter().map(|sender| format!("- `{}`: {}.", sender.name, sender.title));
        let lines: Vec<String> = lines.collect();
        let description = format!(
            "Who sends, and so how it signs and what its bodies look like.\n\n{}",
            lines.join("\n")
        );
        let object = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .description(Some(description))
            .enum_values(Some(SENDERS.iter().map(|sender| sender.name)));
        RefOr::T(Schema::Object(object.build()))
    }
}

impl utoipa::ToSchema for Scheme {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("WebhookScheme")
    }
}
