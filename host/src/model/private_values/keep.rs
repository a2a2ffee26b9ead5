//! Replaces masks that come back with changed settings by the stored values, as long as the values
//! still go to the receivers that they were set for.

use super::keep_auth::keep_auth;
use super::{MASK, mask_url, url_authority, url_origin};
use crate::model::endpoint::EndpointSettings;
use crate::model::fault::InputFault;
use crate::model::flow::{FlowModule, FlowSettings};
use crate::model::source::SourceSettings;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Returns a URL with its masks replaced by stored values, or `None` if the stored URL has another
/// origin or lacks a value.
pub fn unmask_url(url: &str, stored: &str) -> Option<String> {
    if mask_url(stored) == url {
        return Some(stored.to_owned());
    }
    let known = |name: &str| {
        let query = stored.split('#').next()?.split_once('?')?.1;
        let value = query.split('&').filter_map(|pair| pair.split_once('='));
        value.filter(|(known, _)| *known == name).map(|(_, value)| value).next()
    };
    if url_origin(url) != url_origin(stored) {
        return None;
    }
    let (place, query) = match url.split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (url, None),
    };
    let place = unmask_path(place, stored.split(['?', '#']).next()?)?;
    let Some(query) = query else { return Some(place) };
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, MASK)) => Some(format!("{name}={}", known(name)?)),
        _ => Some(pair.to_owned()).filter(|pair| pair != MASK),
    };
    let pairs: Option<Vec<String>> = query.split('&').map(pair).collect();
    Some(format!("{place}?{}", pairs?.join("&"))).filter(|url| !is_masked_url(url))
}

/// Replaces the masks in a path by stored segments, or returns `None` if the stored path has
/// another number of segments.
fn unmask_path(place: &str, stored: &str) -> Option<String> {
    let known: Vec<&str> = stored.split('/').collect();
    let given: Vec<&str> = place.split('/').collect();
    if given.contains(&MASK) && given.len() != known.len() {
        return None;
    }
    let part = |(n, part): (usize, &&str)| match *part {
        MASK => known.get(n).copied().filter(|known| *known != MASK).map(str::to_owned),
        part => Some(part.to_owned()),
    };
    let parts: Option<Vec<String>> = given.iter().enumerate().map(part).collect();
    parts.map(|parts| parts.join("/"))
}

/// Whether a part of a URL is a mask.
pub fn is_masked_url(url: &str) -> bool {
    url.split(['?', '#']).next().is_some_and(|place| place.split('/').any(|part| part == MASK))
        || url_authority(url).is_some_and(|authority| authority.starts_with("***@"))
        || url.split_once('?').is_some_and(|(_, query)| {
            query.split('&').any(|pair| pair.split_once('=').map_or(pair, |(_, v)| v) == MASK)
        })
}

/// Settings that also say to whom, and how openly, a stored secret is sent.
const SECRET_PLACES: [&str; 2] = ["brokers", "mechanism"];

/// Replaces the masks of an endpoint by stored values. Uses the first of `stored` that has a value,
/// is of the same kind and goes to the same scheme, host and port. The faults name the masks that
/// are left.
pub fn keep_endpoint(new: &mut EndpointSettings, stored: &[&EndpointSettings]) -> Vec<InputFault> {
    let mut faults = Vec::new();
    if is_masked_url(&new.url) {
        match stored.iter().find_map(|stored| unmask_url(&new.url, &stored.url)) {
            Some(url) if !is_masked_url(&url) => new.url = url,
            _ => faults.push(InputFault::new("url", again("address", stored.first(), &new.url))),
        }
    }
    let goes_to = url_origin(&new.url);
    let is_same = |stored: &&&EndpointSettings| {
        let same_place = |name: &str| stored.settings.get(name) == new.settings.get(name);
        stored.kind == new.kind
            && url_origin(&stored.url) == goes_to
            && SECRET_PLACES.iter().all(|name| same_place(name))
    };
    let same: Vec<_> = stored.iter().filter(is_same).collect();
    for (name, value) in new.headers.iter_mut().filter(|(_, value)| *value == MASK) {
        let known = same.iter().filter_map(|stored| {
            let mut found = stored.headers.iter();
            found.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        });
        if let Some(known) = known.into_iter().find(|value| *value != MASK) {
            value.clone_from(known);
        } else {
            let message = again("value", stored.first(), &goes_to);
            faults.push(InputFault::new(format!("headers.{name}"), message));
        }
    }
    let known: Vec<Value> =
        same.iter().map(|stored| Value::Object(stored.settings.clone())).collect();
    for name in keep_members(&mut new.settings, &known) {
        let message = again("value", stored.first(), &goes_to);
        faults.push(InputFault::new(format!("settings.{name}"), message));
    }
    faults.extend(keep_auth(new, stored));
    faults
}

/// Returns the message for a mask that no stored value replaces.
pub fn again(what: &str, stored: Option<&&EndpointSettings>, goes_to: &str) -> String {
    match stored.map(|stored| url_origin(&stored.url)) {
        Some(known) if known != url_origin(goes_to) => {
            format!("enter the {what} again: the stored one was entered for {known}")
        }
        _ => {
            format!(
                "enter the whole {what}: `{MASK}` stands for a stored one, and no stored one can be used"
            )
        }
    }
}

/// Replaces the masks in the paths of the lists that a source polls, and in the configuration of its
/// module.
pub fn keep_source(new: &mut SourceSettings, stored: &[&SourceSettings]) -> Vec<InputFault> {
    let mut faults = keep_lists(new, stored);
    let Some(module) = new.find_module() else { return faults };
    let same = |stored: &&SourceSettings| -> Option<Value> {
        let known = stored.find_module().filter(|known| known.name == module.name)?;
        serde_json::to_value(known.config).ok()
    };
    let known: Vec<Value> = stored.iter().filter_map(same).collect();
    let mut kept = module.clone();
    let place = new.module_place();
    keep_config(&mut kept, &known, place, &mut faults);
    let decoder = new.webhook.as_mut().and_then(|webhook| webhook.module.as_mut());
    if let Some(decoder) = decoder {
        decoder.config = kept.config;
    } else if let Some(puller) = &mut new.module {
        puller.config = kept.config;
    }
    faults
}

fn keep_lists(new: &mut SourceSettings, stored: &[&SourceSettings]) -> Vec<InputFault> {
    let goes_to = new.asked().map(url_origin);
    let Some(poll) = &mut new.poll else { return Vec::new() };
    let same = stored.iter().filter(|stored| stored.asked().map(url_origin) == goes_to);
    let known: Vec<_> = same.filter_map(|stored| stored.poll.as_ref()).collect();
    // Two lists may differ only in a masked value, so each stored path is used once, and the one at
    // the same position is tried first.
    let mut used: BTreeSet<String> = poll.lists.iter().map(|list| list.path.clone()).collect();
    let mut faults = Vec::new();
    for (n, list) in poll.lists.iter_mut().enumerate().filter(|(_, l)| is_masked_url(&l.path)) {
        let at_place = known.iter().filter_map(|poll| poll.lists.get(n));
        let anywhere = known.iter().flat_map(|poll| &poll.lists);
        let stored = at_place.chain(anywhere).map(|stored| &stored.path).find(|path| {
            !is_masked_url(path) && mask_url(path) == list.path && !used.contains(*path)
        });
        if let Some(stored) = stored {
            list.path.clone_from(stored);
            used.insert(stored.clone());
        } else {
            let message = format!(
                "enter the whole path: `{MASK}` stands for a stored one, and no stored one can be used"
            );
            faults.push(InputFault::new(format!("poll.lists[{n}].path"), message));
        }
    }
    faults
}

/// Replaces the masks in the configuration of a flow's modules, each by the values of the stored
/// module with the same name.
pub fn keep_flow(new: &mut FlowSettings, stored: &[&FlowSettings]) -> Vec<InputFault> {
    let mut faults = Vec::new();
    for (n, module) in new.modules.iter_mut().enumerate() {
        let same = |stored: &&FlowSettings| -> Option<Value> {
            let at_place = stored.modules.get(n).filter(|known| known.name == module.name);
            let known = at_place.or_else(|| stored.modules.iter().find(|m| m.name == module.name));
            serde_json::to_value(&known?.config).ok()
        };
        let known: Vec<Value> = stored.iter().filter_map(same).collect();
        keep_config(module, &known, &format!("modules[{n}]"), &mut faults);
    }
    faults
}

fn keep_config(
    module: &mut FlowModule,
    known: &[Value],
    place: &str,
    faults: &mut Vec<InputFault>,
) {
    let Ok(Value::Object(mut config)) = serde_json::to_value(&module.config) else { return };
    for name in keep_members(&mut config, known) {
        let message = format!(
            "enter the value: `{MASK}` stands for a stored one, and no stored one can be used"
        );
        faults.push(InputFault::new(format!("{place}.config.{name}"), message));
    }
    module.config = config.into_iter().collect();
}

/// Replaces all masks in an object by stored values. Returns the names of the masks that are left.
fn keep_members(object: &mut Map<String, Value>, known: &[Value]) -> Vec<String> {
    let mut whole = Value::Object(std::mem::take(object));
    let (mut masks, mut left) = (Vec::new(), Vec::new());
    find_masks(&whole, "", &mut masks);
    for place in masks {
        let mut values = known.iter().filter_map(|known| known.pointer(&place)?.as_str());
        let known = values.find(|value| *value != MASK);
        if let (Some(known), Some(value)) = (known, whole.pointer_mut(&place)) {
            *value = Value::from(known);
        } else {
            left.push(place.trim_start_matches('/').replace('/', "."));
        }
    }
    if let Value::Object(members) = whole {
        *object = members;
    }
    left
}

/// Collects the places of all masks in a value.
fn find_masks(value: &Value, place: &str, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text == MASK => found.push(place.to_owned()),
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                find_masks(item, &format!("{place}/{n}"), found);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                let key = key.replace('~', "~0").replace('/', "~1");
                find_masks(member, &format!("{place}/{key}"), found);
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn endpoint(url: &str, authorization: &str) -> EndpointSettings {
        let settings =
            json!({"name": "a", "url": url, "headers": {"authorization": authorization}});
        serde_json::from_value(settings).unwrap()
    }

    #[test]
    fn a_mask_stands_for_the_stored_value_at_the_same_host_only() {
        let stored = endpoint("https://h.example/in?key=k1&other=k2", "Bearer s3cret");
        let mut same = endpoint("https://h.example:443/moved?key=***", MASK);
        assert_eq!(keep_endpoint(&mut same, &[&stored]), []);
        assert_eq!(same, endpoint("https://h.example:443/moved?key=k1", "Bearer s3cret"));
        for (url, faulty) in [
            ("https://evil.example/in", &["headers.authorization"][..]),
            ("http://h.example/in", &["headers.authorization"]),
            ("https://h.example@evil.example/in", &["headers.authorization"]),
            ("https://evil.example/in?key=***", &["url", "headers.authorization"]),
            ("https://h.example/in?new=***", &["url"]),
        ] {
            let mut new = endpoint(url, MASK);
            let faults = keep_endpoint(&mut new, &[&stored]);
            let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
            assert_eq!(paths, faulty, "{url}");
        }
        let mut alone = endpoint("https://h.example/in", MASK);
        assert_eq!(keep_endpoint(&mut alone, &[]).len(), 1, "a mask is never a value");
    }

    #[test]
    fn a_secret_of_settings_stays_with_its_kind_and_its_host() {
        let endpoint = |kind: &str, url: &str, password: &str| -> EndpointSettings {
            let settings = json!({"name": "a", "kind": kind, "url": url,
                "settings": {"password": password, "from": "a@h.example"}});
            serde_json::from_value(settings).unwrap()
        };
        let stored = endpoint("email", "smtp://h.example:587", "s3cret");
        let mut same = endpoint("email", "smtp://h.example:587", MASK);
        assert_eq!(keep_endpoint(&mut same, &[&stored]), []);
        assert_eq!(same, stored);
        for (kind, url) in [
            ("email", "smtp://evil.example:587"),
            ("email", "smtp://h.example:80"),
            ("webhook", "smtp://h.example:587"),
        ] {
            let faults = keep_endpoint(&mut endpoint(kind, url, MASK), &[&stored]);
            assert_eq!(faults[0].path, "settings.password", "{kind} {url}");
        }
    }

    #[test]
    fn a_masked_part_of_a_path_stands_for_the_stored_one() {
        let stored = endpoint("https://h.example/in/aBcDeFgHiJkLmNoPqRsT1234", "Bearer s3cret");
        for (url, kept) in [
            ("https://h.example/in/***", Some("https://h.example/in/aBcDeFgHiJkLmNoPqRsT1234")),
            ("https://h.example/to/***", Some("https://h.example/to/aBcDeFgHiJkLmNoPqRsT1234")),
            (
                "https://h.example/in/***?n=1",
                Some("https://h.example/in/aBcDeFgHiJkLmNoPqRsT1234?n=1"),
            ),
            ("https://h.example/***", None),
            ("https://evil.example/in/***", None),
        ] {
            let mut new = endpoint(url, "Bearer s3cret");
            let faults = keep_endpoint(&mut new, &[&stored]);
            assert_eq!(faults.is_empty().then_some(new.url.as_str()), kept, "{url}");
        }
    }

    #[test]
    fn a_configuration_keeps_the_values_of_the_same_module() {
        let flow = |name: &str, config: Value| -> FlowSettings {
            let modules = json!([{"name": name, "config": config}]);
            serde_json::from_value(json!({"name": "f", "modules": modules})).unwrap()
        };
        let stored = flow("m", json!({"key": "s3cret", "deep": {"k": "two"}}));
        let mut same = flow("m", json!({"key": "***", "deep": {"k": "***"}, "n": 1}));
        assert_eq!(keep_flow(&mut same, &[&stored]), []);
        assert_eq!(same, flow("m", json!({"key": "s3cret", "deep": {"k": "two"}, "n": 1})));
        let mut other = flow("other", json!({"key": "***"}));
        assert_eq!(keep_flow(&mut other, &[&stored])[0].path, "modules[0].config.key");
    }

    #[test]
    fn lists_that_differ_only_in_a_masked_value_keep_their_own() {
        let source = |paths: &[&str]| -> SourceSettings {
            let lists: Vec<Value> =
                paths.iter().map(|path| json!({"path": path, "resource": "order"})).collect();
            let poll = json!({"preset": "custom", "url": "https://erp.example", "lists": lists});
            serde_json::from_value(json!({"name": "erp", "kind": "poll", "poll": poll})).unwrap()
        };
        let (open, closed, masked) = ("/o?state=open", "/o?state=closed", "/o?state=***");
        let stored = source(&[open, closed]);
        for (given, wanted) in [
            ([masked, masked], [open, closed]),
            ([closed, masked], [closed, open]),
            ([masked, open], [closed, open]),
        ] {
            let mut new = source(&given);
            assert_eq!(keep_source(&mut new, &[&stored]), []);
            assert_eq!(new, source(&wanted), "{given:?}");
        }
        let mut three = source(&[masked, masked, masked]);
        assert_eq!(keep_source(&mut three, &[&stored])[0].path, "poll.lists[2].path");
    }
}
