//! The private values of settings. They are stored encrypted, and not shown to callers that may
//! only read.
//!
//! For an endpoint these are the values of its headers and of its URL's query, the segments of its
//! URL's path that look like secrets, and the secrets of `settings`, `auth` and `tls`. For a source
//! they are the same parts of the paths that it polls, and all strings in the configuration of its
//! module. For a flow they are all strings in the configuration of its modules.
//!
//! A private value is shown as a mask. A mask that comes back with changed settings stands for the
//! stored value, as long as the value still goes to the receiver that it was set for.

pub mod keep;
pub mod keep_auth;

use crate::model::endpoint_auth::SECRET_PLACES;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

pub use keep::{keep_endpoint, keep_flow, keep_source};

/// Shown in place of a private value.
pub const MASK: &str = "***";

/// The names of secrets in the `settings` of an endpoint, whatever its kind. A version that does
/// not know a kind thereby hides its secrets too.
pub const SECRET_SETTINGS: [&str; 6] =
    ["password", "secret", "token", "access_key", "secret_key", "private_key"];

/// The places of the configuration of a source's module.
const SOURCE_CONFIGS: [&str; 2] = ["/webhook/module/config", "/module/config"];

/// Private values by their place in the settings, a JSON pointer (RFC 6901).
pub type PrivateValues = BTreeMap<String, String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingsKind {
    Endpoint,
    Source,
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
            if let Some(Value::Object(settings)) = settings.get_mut("settings") {
                hider.secrets(settings, "/settings");
            }
            for place in SECRET_PLACES {
                hider.at(settings, place, |_| MASK.to_owned());
            }
            hider.at(settings, "/auth/token_url", mask_url);
            if let Some(extra) = settings.pointer_mut("/auth/extra") {
                hider.below(extra, "/auth/extra");
            }
        }
        SettingsKind::Source => {
            let lists = settings.pointer("/poll/lists").and_then(Value::as_array).map(Vec::len);
            for n in 0..lists.unwrap_or_default() {
                hider.at(settings, &format!("/poll/lists/{n}/path"), mask_url);
            }
            for place in SOURCE_CONFIGS {
                if let Some(config) = settings.pointer_mut(place) {
                    hider.below(config, place);
                }
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

/// Masks the secrets in the `settings` of an endpoint and returns their values.
pub fn hide_settings(settings: &mut Map<String, Value>) -> Vec<String> {
    let mut hider = ValueHider::default();
    hider.secrets(settings, "");
    hider.hidden.into_values().collect()
}

/// Puts private values back in their places.
pub fn reveal_values(settings: &mut Value, values: &PrivateValues) {
    for (place, text) in values {
        if let Some(value) = settings.pointer_mut(place) {
            *value = Value::String(text.clone());
        }
    }
}

/// Returns settings as JSON with their private values masked.
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

    /// Masks the members of [`SECRET_SETTINGS`], at any depth.
    fn secrets(&mut self, members: &mut Map<String, Value>, place: &str) {
        for (name, member) in members {
            let place = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
            if SECRET_SETTINGS.contains(&name.as_str()) {
                self.below(member, &place);
            } else if let Value::Object(members) = member {
                self.secrets(members, &place);
            }
        }
    }

    /// Masks every string in a value.
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

/// Masks the user and password of a URL or a path, the values of its query, and the segments of its
/// path that look like secrets.
pub fn mask_url(url: &str) -> String {
    let (url, fragment) = url.split_at(url.find('#').unwrap_or(url.len()));
    let (place, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    let (origin, path) = place.split_at(path_begin(place));
    let place = [origin, &mask_path(path)].concat();
    let place = place.as_str();
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

/// Returns the offset at which the path begins: after the origin, or 0 without one.
fn path_begin(place: &str) -> usize {
    let origin = place.find("://").map_or(0, |at| at + "://".len());
    let rest = place.get(origin..).unwrap_or_default();
    if origin == 0 { 0 } else { origin + rest.find('/').unwrap_or(rest.len()) }
}

fn mask_path(path: &str) -> String {
    let segments = path.split('/').map(|part| if is_secret_segment(part) { MASK } else { part });
    segments.collect::<Vec<&str>>().join("/")
}

/// Fewest characters of a secret in a path. Those of Slack have 24, of Make 32, of Discord 68, and
/// a UUID has 36.
const SHORTEST_SECRET: usize = 16;
/// The number of digits that names made of words do not reach.
const DIGITS_OF_SECRET: usize = 3;

/// Whether a segment of a path looks like a secret, as in the addresses of incoming webhooks of
/// Slack, Discord, Make and n8n. A long name made of words has few digits, and no digit beside
/// letters of both cases.
fn is_secret_segment(segment: &str) -> bool {
    let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '~' | '.');
    let count = |kind: fn(&char) -> bool| segment.chars().filter(kind).count();
    let digits = count(char::is_ascii_digit);
    let has_cases = count(char::is_ascii_uppercase) > 0 && count(char::is_ascii_lowercase) > 0;
    segment.len() >= SHORTEST_SECRET
        && segment.chars().all(is_token)
        && digits < segment.len()
        && (digits >= DIGITS_OF_SECRET || (has_cases && digits > 0))
}

fn mask_pair(pair: &str) -> String {
    match pair.split_once('=') {
        Some((_, "")) => pair.to_owned(),
        Some((name, _)) => format!("{name}={MASK}"),
        None if pair.is_empty() => String::new(),
        None => MASK.to_owned(),
    }
}

/// Returns user, host and port of a URL.
fn url_authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?', '#', '\\']).next()
}

/// Returns scheme, host and port of a URL, which decide who sees the values sent there.
pub fn url_origin(url: &str) -> String {
    let scheme = url.split("://").next().unwrap_or_default().to_ascii_lowercase();
    let authority = url_authority(url).unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let usual = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => "",
    };
    format!("{scheme}://{}", host.strip_suffix(usual).unwrap_or(&host))
}

/// Returns the secrets of a URL, both as they are written and decoded, so that they can be found in
/// other texts: those in its path and the values of its query.
pub fn url_secrets(url: &str) -> Vec<String> {
    let place = url.split(['?', '#']).next().unwrap_or_default();
    let path = place.get(path_begin(place)..).unwrap_or_default();
    let in_path = path.split('/').filter(|part| is_secret_segment(part)).map(str::to_owned);
    let query = url.split('#').next().and_then(|url| url.split_once('?'));
    let pairs = query.map(|(_, query)| query.split('&')).into_iter().flatten();
    let mut values: Vec<String> = in_path.collect();
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
            "settings": {"password": "s3cret", "from": "a@h.example", "deep": {"token": "s3cret"}},
            "auth": {"kind": "oauth2", "token_url": "https://t.example/t?k=s3cret", "client_id": "c",
                     "client_secret": "s3cret", "extra": {"resource": "s3cret"}},
            "tls": {"certificate": "shown", "key": "s3cret"},
        });
        let flow = json!({"name": "f", "modules": [
            {"name": "m", "config": {"key": "s3cret", "n": 5, "deep": [{"a/b": "s3cret"}, true]}},
        ]});
        let source = json!({"name": "s", "poll": {"url": "https://x", "lists": [
            {"path": "/orders?key=s3cret"}, {"path": "/plain"},
        ]}, "webhook": {"module": {"name": "m", "config": {"key": "s3cret"}}}});
        for (kind, settings, count) in [
            (SettingsKind::Endpoint, endpoint, 9),
            (SettingsKind::Flow, flow, 2),
            (SettingsKind::Source, source, 2),
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
    fn a_masked_url_shows_its_place_and_no_secret() {
        for (url, shown) in [
            ("https://h.example/in?a=1&b=&c", "https://h.example/in?a=***&b=&***"),
            ("https://u:p@h.example/in", "https://***@h.example/in"),
            ("https://h.example/in/7", "https://h.example/in/7"),
            ("https://h.example?", "https://h.example?"),
            ("/orders?key=k", "/orders?key=***"),
            (
                "https://hooks.slack.com/services/T02AB3CD4/B05EF6GH7/aBcDeFgHiJkLmNoPqRsT1234",
                "https://hooks.slack.com/services/T02AB3CD4/B05EF6GH7/***",
            ),
            (
                "https://n8n.example/webhook/5d0c1c6e-7a0b-4d39-9c6f-1f5a3a9f2b7e/x",
                "https://n8n.example/webhook/***/x",
            ),
            ("https://u:p@h.example/a/1b2c3d4e5f6a7b8c9d0e", "https://***@h.example/a/***"),
            (
                "https://h.example/customer-notifications-of-today/v2",
                "https://h.example/customer-notifications-of-today/v2",
            ),
            (
                "https://h.example/api/12345678901234567890",
                "https://h.example/api/12345678901234567890",
            ),
        ] {
            assert_eq!(mask_url(url), shown);
            assert_eq!(mask_url(shown), shown);
        }
        assert_eq!(url_origin("HTTPS://u@H.example:443/x?y"), "https://h.example");
        assert_eq!(url_origin("http://h.example:8080"), "http://h.example:8080");
        assert_eq!(url_secrets("https://h/?a=x%20y&b"), ["x y", "x%20y", "b"]);
        let secret = "aBcDeFgHiJkLmNoPqRsT1234";
        assert_eq!(url_secrets(&format!("https://h/in/{secret}?a=1#f")), [secret, "1"]);
    }
}
