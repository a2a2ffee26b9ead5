//! The private parts of settings: values that neither rest in plain text nor are shown to those who
//! only read. Of an endpoint the values of its headers and of its URL's query, of a source the
//! queries of the lists it asks for, of a flow every text in the configuration of its modules.
//!
//! A private value that is not shown is masked. A mask that comes back stands for the stored value,
//! as long as that goes where it was meant to go.

pub mod keep;

use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

pub use keep::{keep_endpoint, keep_flow, keep_source};

/// Stands in the place of a private value.
pub const MASK: &str = "***";

/// Private values by their place in the settings, a JSON pointer (RFC 6901).
pub type PrivateValues = BTreeMap<String, String>;

/// Whose settings they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingsKind {
    /// An endpoint's.
    Endpoint,
    /// A source's.
    Source,
    /// A flow's.
    Flow,
}

/// Masks the private values of settings and returns them.
pub fn hide_values(kind: SettingsKind, settings: &mut Value) -> PrivateValues {
    let mut hider = ValueHider::default();
    match kind {
        SettingsKind::Endpoint => {
            hider.at(settings, "/url", mask_url);
            if let Some(headers) = settings.get_mut("headers") {
                hider.below(headers, "/headers");
            }
        }
        SettingsKind::Source => {
            let lists = settings.pointer("/poll/lists").and_then(Value::as_array).map(Vec::len);
            for n in 0..lists.unwrap_or_default() {
                hider.at(settings, &format!("/poll/lists/{n}/path"), mask_url);
            }
        }
        SettingsKind::Flow => {
            let modules = settings.get_mut("modules").and_then(Value::as_array_mut);
            for (n, module) in modules.into_iter().flatten().enumerate() {
                if let Some(config) = module.get_mut("config") {
                    hider.below(config, &format!("/modules/{n}/config"));
                }
            }
        }
    }
    hider.hidden
}

/// Puts private values back in their places.
pub fn reveal_values(settings: &mut Value, values: &PrivateValues) {
    for (place, text) in values {
        if let Some(value) = settings.pointer_mut(place) {
            *value = Value::String(text.clone());
        }
    }
}

/// Settings as JSON with their private values masked.
pub fn mask_values<S: Serialize>(
    kind: SettingsKind,
    settings: &S,
) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(settings)?;
    hide_values(kind, &mut value);
    Ok(value)
}

#[derive(Default)]
struct ValueHider {
    hidden: PrivateValues,
}

impl ValueHider {
    fn at(&mut self, settings: &mut Value, place: &str, mask: fn(&str) -> String) {
        if let Some(Value::String(text)) = settings.pointer_mut(place) {
            self.hide(text, place.to_owned(), mask);
        }
    }

    /// Masks every text in a value.
    fn below(&mut self, value: &mut Value, place: &str) {
        match value {
            Value::String(text) => {
                self.hide(text, place.to_owned(), |_| MASK.to_owned());
            }
            Value::Array(items) => {
                for (n, item) in items.iter_mut().enumerate() {
                    self.below(item, &format!("{place}/{n}"));
                }
            }
            Value::Object(members) => {
                for (key, member) in members {
                    let key = key.replace('~', "~0").replace('/', "~1");
                    self.below(member, &format!("{place}/{key}"));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn hide(&mut self, text: &mut String, place: String, mask: fn(&str) -> String) {
        let masked = mask(text);
        if masked != *text {
            self.hidden.insert(place, std::mem::replace(text, masked));
        }
    }
}

/// A URL's or a path's text with its password and the values of its query masked.
pub fn mask_url(url: &str) -> String {
    let (url, fragment) = url.split_at(url.find('#').unwrap_or(url.len()));
    let (place, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    let place = match (place.find("://"), url_authority(place).and_then(|a| a.rsplit_once('@'))) {
        (Some(at), Some((user, _))) => {
            let (scheme, rest) = place.split_at(at + "://".len());
            format!("{scheme}{MASK}{}", rest.get(user.len()..).unwrap_or_default())
        }
        _ => place.to_owned(),
    };
    let Some(query) = query.strip_prefix('?').filter(|query| !query.is_empty()) else {
        return format!("{place}{query}{fragment}");
    };
    let pairs: Vec<String> = query.split('&').map(mask_pair).collect();
    format!("{place}?{}{fragment}", pairs.join("&"))
}

fn mask_pair(pair: &str) -> String {
    match pair.split_once('=') {
        Some((_, "")) => pair.to_owned(),
        Some((name, _)) => format!("{name}={MASK}"),
        None if pair.is_empty() => String::new(),
        None => MASK.to_owned(),
    }
}

/// User, host and port of a URL.
fn url_authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?', '#', '\\']).next()
}

/// Scheme, host and port of a URL: who gets to see what is sent there.
pub fn url_origin(url: &str) -> String {
    let scheme = url.split("://").next().unwrap_or_default().to_ascii_lowercase();
    let authority = url_authority(url).unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let usual = if scheme == "https" { ":443" } else { ":80" };
    format!("{scheme}://{}", host.strip_suffix(usual).unwrap_or(&host))
}

/// The values of a URL's query, as they are written and decoded, for finding them elsewhere.
pub fn query_values(url: &str) -> Vec<String> {
    let query = url.split('#').next().and_then(|url| url.split_once('?'));
    let pairs = query.map(|(_, query)| query.split('&')).into_iter().flatten();
    let mut values = Vec::new();
    for pair in pairs {
        let value = pair.split_once('=').map_or(pair, |(_, value)| value);
        let decoded = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
        if decoded != value {
            values.push(decoded);
        }
        values.push(value.to_owned());
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn private_values_are_hidden_and_come_back() {
        let endpoint = json!({
            "name": "a", "url": "https://h.example/in/7?token=s3cret&x=&flag#f",
            "headers": {"Authorization": "Bearer s3cret", "x~a": "s3cret"},
        });
        let flow = json!({"name": "f", "modules": [
            {"name": "m", "config": {"key": "s3cret", "n": 5, "deep": [{"a/b": "s3cret"}, true]}},
        ]});
        let source = json!({"name": "s", "poll": {"url": "https://x", "lists": [
            {"path": "/orders?key=s3cret"}, {"path": "/plain"},
        ]}});
        for (kind, settings, count) in [
            (SettingsKind::Endpoint, endpoint, 3),
            (SettingsKind::Flow, flow, 2),
            (SettingsKind::Source, source, 1),
        ] {
            let mut shown = settings.clone();
            let hidden = hide_values(kind, &mut shown);
            assert_eq!(hidden.len(), count, "{hidden:?}");
            assert!(!shown.to_string().contains("s3cret"), "{shown}");
            assert!(hide_values(kind, &mut shown.clone()).is_empty(), "masks hide nothing");
            reveal_values(&mut shown, &hidden);
            assert_eq!(shown, settings);
        }
    }

    #[test]
    fn a_url_shows_where_it_goes_and_no_secret() {
        for (url, shown) in [
            ("https://h.example/in?a=1&b=&c", "https://h.example/in?a=***&b=&***"),
            ("https://u:p@h.example/in", "https://***@h.example/in"),
            ("https://h.example/in/7", "https://h.example/in/7"),
            ("https://h.example?", "https://h.example?"),
            ("/orders?key=k", "/orders?key=***"),
        ] {
            assert_eq!(mask_url(url), shown);
            assert_eq!(mask_url(shown), shown);
        }
        assert_eq!(url_origin("HTTPS://u@H.example:443/x?y"), "https://h.example");
        assert_eq!(url_origin("http://h.example:8080"), "http://h.example:8080");
        assert_eq!(query_values("https://h/?a=x%20y&b"), ["x y", "x%20y", "b"]);
    }
}
