//! The module's configuration in the flow that runs it.
//!
//! It is a JSON object under the module's name in the flow. The same module runs with other values
//! in another flow, and a change takes effect with the next event.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Failure;

/// The value of a key: a string as it is, any other value as its JSON text. None where the key is
/// not set.
pub fn get(key: &str) -> Option<String> {
    #[cfg(target_family = "wasm")]
    return crate::bindings::config::get(key);
    #[cfg(not(target_family = "wasm"))]
    return crate::testing::config_value(key);
}

/// All of the configuration as a type of yours, such as a struct with `#[serde(default)]`.
///
/// A configuration that does not fit is a permanent failure with the code `config_invalid`.
pub fn all<T: DeserializeOwned>() -> Result<T, Failure> {
    #[cfg(target_family = "wasm")]
    let text = crate::bindings::config::all();
    #[cfg(not(target_family = "wasm"))]
    let text = crate::testing::config_text();
    serde_json::from_str(&text).map_err(|error| {
        Failure::permanent("config_invalid", format!("the configuration does not fit: {error}"))
    })
}

/// The value of a key that has to be set.
///
/// Without it, and with a value that does not fit the type, the failure is permanent, with the code
/// `config_missing` or `config_invalid`: whoever runs the flow mends its configuration and replays
/// the dead letter.
pub fn require<T: DeserializeOwned>(key: &str) -> Result<T, Failure> {
    optional(key)?.ok_or_else(|| {
        Failure::permanent("config_missing", format!("the configuration lacks `{key}`"))
    })
}

/// The value of a key that may be left out.
///
/// Both `30` and `"30"` fit a number: a value is tried as a string first, then as JSON. A value
/// that fits neither way is a permanent failure with the code `config_invalid`.
pub fn optional<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Failure> {
    let Some(text) = get(key) else { return Ok(None) };
    parse(&text).map(Some).map_err(|error| {
        let message = format!("the configuration's `{key}` does not fit: {error}");
        Failure::permanent("config_invalid", message)
    })
}

fn parse<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    let as_string = match T::deserialize(Value::String(text.to_owned())) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    // Text that is not JSON at all was meant as a string, and that error says what was wrong with
    // it.
    serde_json::from_str(text).map_err(|error| if error.is_syntax() { as_string } else { error })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::Host;

    #[test]
    fn values_are_typed() {
        let _host = Host::with_config(json!({
            "name": "north", "digits": "042", "days": 3, "text_days": "4", "tags": ["a", "b"],
            "nothing": null,
        }));
        assert_eq!(require("name"), Ok("north".to_owned()));
        assert_eq!(require("digits"), Ok("042".to_owned()));
        assert_eq!(require("days"), Ok(3_u32));
        assert_eq!(require("text_days"), Ok(4_u32));
        assert_eq!(require("tags"), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(optional::<u32>("absent"), Ok(None));
        assert_eq!(get("tags").as_deref(), Some(r#"["a","b"]"#));
        assert_eq!(get("nothing").as_deref(), Some("null"));
        assert_eq!(get("absent"), None);
        assert_eq!(all::<serde_json::Map<String, Value>>().unwrap()["days"], 3);
    }

    #[test]
    fn missing_value_names_its_key() {
        let failure = require::<u32>("days").unwrap_err();
        assert_eq!(failure.reason().code, "config_missing");
        assert_eq!(failure.reason().message, "the configuration lacks `days`");
    }

    #[test]
    fn wrong_value_names_its_key_and_what_was_expected() {
        let _host = Host::with_config(json!({"days": "soon", "count": -1}));
        for (key, expected) in [("days", "invalid type: string \"soon\""), ("count", "`-1`")] {
            let failure = require::<u32>(key).unwrap_err();
            assert_eq!(failure.reason().code, "config_invalid");
            assert!(failure.reason().message.contains(&format!("`{key}`")), "{failure:?}");
            assert!(failure.reason().message.contains(expected), "{failure:?}");
        }
    }
}
