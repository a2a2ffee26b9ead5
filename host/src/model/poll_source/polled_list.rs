//! Settings of one list of a source that polls a REST API, and the list's name.

use crate::crypto::digest::ShortDigest;
use crate::model::private_values::mask_url;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

/// Digits of the digest in the name of a list. They distinguish the lists of one source, and are
/// too few to find a secret with.
const LIST_DIGEST: usize = 6;

/// A list of the API to poll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ListSettings {
    /// The list's name in the preset, or its path below `url`.
    pub path: String,
    /// Kind of record in a row, such as `invoice`. If left out, it follows from the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The event type for a new row. If left out, `RESOURCE.created`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The event type for a changed row. If left out, `RESOURCE.updated`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated: Option<String>,
    /// The place of the rows in the answer, as a JSON pointer. If left out, Waybill tries the usual
    /// places.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<String>,
    /// The field that identifies a row. If left out, Waybill tries the usual names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The field with the time of a row. If left out, Waybill tries the usual names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
}

/// A list as settings may write it: as an object. A plain name is converted first.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WholeList {
    path: String,
    resource: Option<String>,
    created: Option<String>,
    updated: Option<String>,
    rows: Option<String>,
    key: Option<String>,
    timestamp: Option<String>,
}

impl ListSettings {
    /// Returns the last segment of the path.
    pub fn name(&self) -> &str {
        let path = self.path.split('?').next().unwrap_or_default();
        path.trim_matches('/').rsplit('/').next().unwrap_or_default()
    }

    /// Returns the path without private values, followed by a digest if it has any. No other list
    /// has this name, whatever the settings contain.
    pub fn own_name(&self) -> String {
        let masked = mask_url(&self.path);
        if masked == self.path {
            return masked;
        }
        let digest = ShortDigest::of([&self.path]).to_string();
        format!("{masked}#{}", digest.get(..LIST_DIGEST).unwrap_or(&digest))
    }
}

impl<'de> Deserialize<'de> for ListSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut given = Value::deserialize(deserializer)?;
        if let Value::String(path) = given {
            given = serde_json::json!({ "path": path });
        }
        let whole: WholeList = serde_json::from_value(given).map_err(de::Error::custom)?;
        let WholeList { path, resource, created, updated, rows, key, timestamp } = whole;
        Ok(Self { path, resource, created, updated, rows, key, timestamp })
    }
}
