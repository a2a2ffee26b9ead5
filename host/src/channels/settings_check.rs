//! Checks the settings of an endpoint against the description of its kind.

use super::api_channel::API;
use super::channel_kind::{ChannelDescription, ChannelKind, RegisteredChannel};
use super::pull_channel::PULL;
use super::{CHANNELS, find_channel};
use crate::config::ChannelsSection;
use crate::model::config_schema::dotted_path;
use crate::model::endpoint::{DeliveryMode, EndpointSettings, OnGone};
use crate::model::envelope::EnvelopeForm;
use crate::model::fault::InputFault;
use crate::model::signature_scheme::SignatureScheme;
use crate::net::http_url::read_url;
use serde_json::{Map, Value};

/// Most schema faults that one answer lists.
const MAX_FAULTS: usize = 20;

/// Returns the faults of an endpoint that depend on its kind: an unknown kind, the URL, fields that
/// the kind does not use, and `settings`.
pub fn check_channel(endpoint: &EndpointSettings, rules: &ChannelsSection) -> Vec<InputFault> {
    let Some(channel) = find_channel(&endpoint.kind) else {
        return vec![InputFault::new("kind", unknown_kind(&endpoint.kind))];
    };
    let description = &channel.description;
    let mut faults = Vec::new();
    if let Err(why) = read_url(&endpoint.url, description.url_schemes) {
        faults.push(InputFault::new("url", why));
    }
    faults.extend(unused_fields(endpoint, description));
    if endpoint.kind == PULL && endpoint.mode == DeliveryMode::Immediate {
        let message = "a capture cannot wait for a consumer to fetch; choose `async` or `smart`";
        faults.push(InputFault::new("mode", message));
    }
    faults.extend(channel.check_settings(&endpoint.settings, rules));
    faults
}

fn unknown_kind(given: &str) -> String {
    let kinds = CHANNELS.iter().map(|channel| channel.description.kind);
    let distance = |kind: &&str| strsim::damerau_levenshtein(kind, given);
    let nearest = kinds.clone().min_by_key(distance).filter(|kind| distance(kind) <= 2);
    let hint = nearest.map(|kind| format!("; did you mean `{kind}`?")).unwrap_or_default();
    let kinds: Vec<&str> = kinds.collect();
    format!("`{given}` is not a kind of endpoint; the kinds are {}{hint}", kinds.join(", "))
}

/// Returns a fault for each field that is set although the kind does not use it.
fn unused_fields(
    endpoint: &EndpointSettings,
    description: &ChannelDescription,
) -> impl Iterator<Item = InputFault> {
    let set = [
        ("headers", !endpoint.headers.is_empty()),
        ("signing", endpoint.signing != SignatureScheme::DEFAULT),
        ("envelope", endpoint.envelope != EnvelopeForm::Default),
        ("on_gone", endpoint.on_gone != OnGone::Retry),
        ("auth", endpoint.auth.is_some()),
        ("tls", endpoint.tls.is_some()),
        ("method", !endpoint.method.is_post()),
        ("path", endpoint.path.is_some()),
        ("query", !endpoint.query.is_empty()),
        ("body", endpoint.body.is_some()),
        ("timeout", endpoint.timeout.is_some()),
        ("rate_limit", endpoint.rate_limit.is_some()),
        ("max_in_flight", endpoint.max_in_flight.is_some()),
    ];
    let kind = description.kind;
    let is_unused = move |(field, is_set): &(&str, bool)| *is_set && !is_used(description, field);
    set.into_iter().filter(is_unused).map(move |(field, _)| {
        InputFault::new(
            field,
            format!("an endpoint of kind `{kind}` does not use this field; leave it out"),
        )
    })
}

/// Whether endpoints of a kind use a field of their settings.
pub fn uses_field(channel: &RegisteredChannel, field: &str) -> bool {
    is_used(&channel.description, field)
}

fn is_used(description: &ChannelDescription, field: &str) -> bool {
    let is_webhook = description.kind == crate::model::endpoint::WEBHOOK;
    match field {
        "headers" => description.capabilities.headers,
        "signing" => description.capabilities.signs,
        "envelope" => description.capabilities.envelope,
        "auth" | "tls" => is_webhook || description.kind == API,
        // A consumer decides when it fetches, how much, and how long it works on that.
        "timeout" | "rate_limit" | "max_in_flight" => description.kind != PULL,
        "on_gone" | "method" | "path" | "query" | "body" => is_webhook,
        _ => true,
    }
}

/// Returns the JSON Schema of a settings type.
pub fn settings_schema<S: utoipa::PartialSchema>() -> Value {
    let mut schema = serde_json::to_value(S::schema()).unwrap_or_default();
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flatten().for_each(|(_, property)| merge_parts(property));
    schema
}

/// Merges the parts of an inline type into one schema. For such a field utoipa 6 writes an `allOf`
/// of the type's schema and an object with the field's default, and no enumeration fits both.
fn merge_parts(property: &mut Value) {
    let Some(Value::Array(parts)) = property.get_mut("allOf") else { return };
    let mut merged = Map::new();
    for part in std::mem::take(parts).into_iter().rev() {
        if let Value::Object(members) = part {
            merged.extend(members);
        }
    }
    *property = Value::Object(merged);
}

/// Returns the names of the properties that a schema marks as secret.
pub fn secret_fields(schema: &Value) -> Vec<String> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let is_secret = |property: &Value| property.get("writeOnly") == Some(&Value::Bool(true));
    let secret = properties.into_iter().flatten().filter(|(_, property)| is_secret(property));
    secret.map(|(name, _)| name.clone()).collect()
}

/// Checks `settings` against the schema, and if they fit, with the kind's own check.
pub fn check_settings<K: ChannelKind>(
    settings: &Map<String, Value>,
    rules: &ChannelsSection,
) -> Vec<InputFault> {
    let settings = Value::Object(settings.clone());
    let faults = schema_faults(&settings_schema::<K::Settings>(), &settings);
    if !faults.is_empty() {
        return faults;
    }
    match serde_path_to_error::deserialize::<_, K::Settings>(&settings) {
        Ok(read) => K::check(&read, rules).into_iter().map(|f| f.within("settings")).collect(),
        Err(why) => {
            let path = why.path().to_string();
            let path = if path == "." { String::new() } else { path };
            vec![InputFault::new(path, why.into_inner().to_string()).within("settings")]
        }
    }
}

fn schema_faults(schema: &Value, settings: &Value) -> Vec<InputFault> {
    match jsonschema::validator_for(schema) {
        Ok(validator) => {
            let faults = validator.iter_errors(settings).take(MAX_FAULTS);
            faults.map(|fault| schema_fault(&fault)).collect()
        }
        Err(why) => {
            vec![InputFault::new("settings", format!("the settings cannot be checked: {why}"))]
        }
    }
}

/// Converts a schema fault. The message does not repeat the value, which may be a secret.
fn schema_fault(fault: &jsonschema::ValidationError<'_>) -> InputFault {
    let path = dotted_path(fault.instance_path().as_str());
    InputFault::new(path, fault.masked_with("the value").to_string()).within("settings")
}
