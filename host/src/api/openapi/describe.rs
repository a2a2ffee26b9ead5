//! Completes the parts of the description that the handlers' macros cannot express, for all
//! operations in one place: answers of the guard and of the reading of bodies and queries, the
//! media type of problems, and bounds that the code enforces.
//!
//! `cargo xtask contract` checks the server against the result.

use crate::settings::module_logs::MOST_LINES;
use serde_json::{Map, Value, json};

/// Reference to the schema of problems.
const PROBLEM: &str = "#/components/schemas/Problem";
/// Longest name that an operator may choose.
const NAME: usize = crate::model::fault::MAX_NAME;

/// Completes a description.
pub fn describe_document(mut document: Value) -> Value {
    if let Some(paths) = document.pointer_mut("/paths").and_then(Value::as_object_mut) {
        for (path, item) in paths {
            let operations = item.as_object_mut().into_iter().flatten();
            for operation in operations.filter_map(|(_, operation)| operation.as_object_mut()) {
                describe_operation(path, operation);
            }
        }
    }
    if let Some(schemas) =
        document.pointer_mut("/components/schemas").and_then(Value::as_object_mut)
    {
        open_what_is_extended(schemas);
        bound(schemas);
    }
    special(&mut document);
    document
}

fn problem(description: &str) -> Value {
    let schema = json!({ "schema": { "$ref": PROBLEM } });
    json!({ "description": description, "content": { "application/problem+json": schema } })
}

fn describe_operation(path: &str, operation: &mut Map<String, Value>) {
    let has_body = operation.contains_key("requestBody");
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    let mut has_query = false;
    let mut names_object =
        path.ends_with("/dead-letters/replay") || path.ends_with("/dead-letters/stop-replay");
    let mut has_condition = false;
    for parameter in parameters.into_iter().flatten() {
        has_query |= parameter["in"] == "query";
        has_condition |= parameter["name"] == "If-Match";
        names_object |= parameter["name"] == "endpoint";
        describe_parameter(path, parameter);
    }
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else {
        return;
    };
    for response in responses.values_mut() {
        name_problem(response);
    }
    let mut may = |status: &str, why: &str| {
        responses.entry(status).or_insert_with(|| problem(why));
    };
    if !path.starts_with("/oauth/") {
        may("401", "The token, or the signature, is missing, unknown, expired or revoked.");
        may("403", "The token does not permit this call, or not from this address.");
        may("429", "Too many calls; `retry_after` says when to call again.");
        may("503", "The database does not answer, or the source is paused; try again later.");
        if has_query || has_body {
            may("422", "The input has faults; `errors` names each place.");
        }
        if names_object {
            may("404", "No endpoint or source has this name.");
        }
        if has_condition {
            may("400", "`If-Match` is not a list of entity tags.");
        }
        if has_body {
            may("400", "The body is not JSON.");
            may("408", "The body did not arrive in time.");
            may("413", "The body is too large.");
        }
    }
}

/// Sets the media type of problems (RFC 9457, section 3).
fn name_problem(response: &mut Value) {
    let Some(content) = response.get_mut("content").and_then(Value::as_object_mut) else { return };
    let is_problem = content.get("application/json").and_then(|json| json.pointer("/schema/$ref"));
    if is_problem.is_some_and(|reference| reference == PROBLEM)
        && let Some(problem) = content.remove("application/json")
    {
        content.insert("application/problem+json".to_owned(), problem);
    }
}

fn describe_parameter(path: &str, parameter: &mut Value) {
    if path == "/api/v1/{resource}" || parameter["in"] != "query" {
        return;
    }
    match parameter["name"].as_str() {
        Some("limit") => {
            let most = if path.ends_with("/logs") { MOST_LINES } else { 200 };
            parameter["schema"] = json!({"type": "integer", "minimum": 1, "maximum": most});
        }
        // Any unsigned 64-bit number, which `int64` cannot express.
        Some("after") if path.ends_with("/logs") => {
            parameter["schema"] = json!({"type": "integer", "minimum": 0, "maximum": u64::MAX});
        }
        Some("since" | "until") => {
            let time = json!({"type": "string", "format": "date-time"});
            parameter["schema"] = json!({"anyOf": [time, {"type": "number"}]});
        }
        _ => {}
    }
}

/// Opens schemas that others extend by `allOf`: such a schema must not itself refuse the added
/// properties (JSON Schema 2020-12, section 10.3.2.3).
fn open_what_is_extended(schemas: &mut Map<String, Value>) {
    let parts = schemas.values().filter_map(|schema| schema["allOf"].as_array()).flatten();
    let extended: Vec<String> = parts
        .filter_map(|part| part["$ref"].as_str()?.strip_prefix("#/components/schemas/"))
        .map(str::to_owned)
        .collect();
    for name in extended {
        if let Some(schema) = schemas.get_mut(&name).and_then(Value::as_object_mut) {
            schema.remove("additionalProperties");
        }
    }
}

/// Adds bounds that the code enforces.
fn bound(schemas: &mut Map<String, Value>) {
    let mut set = |schema: &str, property: &str, key: &str, value: Value| {
        let place = schemas.get_mut(schema).and_then(|schema| schema.get_mut("properties"));
        if let Some(Value::Object(property)) = place.and_then(|place| place.get_mut(property)) {
            property.insert(key.to_owned(), value);
        }
    };
    for schema in ["EndpointSettings", "FlowSettings", "SourceSettings", "TokenSettings"] {
        set(schema, "name", "minLength", json!(1));
        set(schema, "name", "maxLength", json!(NAME));
    }
    for (schema, property) in [
        ("TokenSettings", "scopes"),
        ("FlowSettings", "events"),
        ("FlowSettings", "endpoints"),
        ("PollSettings", "lists"),
    ] {
        set(schema, property, "minItems", json!(1));
    }
    let scopes = crate::access::scope::SCOPES.iter().map(|(_, name)| json!(name));
    let scopes: Vec<Value> = scopes.chain([json!("read-only")]).collect();
    set("TokenSettings", "scopes", "items", json!({ "type": "string", "enum": scopes }));
    set("TokenSettings", "rate", "minimum", json!(1));
    set("TokenSettings", "rate", "maximum", json!(1_000_000));
    let kinds = crate::channels::CHANNELS.iter().map(|channel| channel.description.kind);
    set("EndpointSettings", "kind", "enum", kinds.collect());
    set("EndpointSettings", "max_in_flight", "minimum", json!(1));
    set("NewEvent", "occurred_at", "format", json!("date-time"));
    let list =
        json!({ "oneOf": [{ "type": "string" }, { "$ref": "#/components/schemas/ListSettings" }] });
    set("PollSettings", "lists", "items", list);
}

/// Adds the particulars of single operations.
fn special(document: &mut Value) {
    let mut set = |place: &str, value: Value| {
        if let Some(found) = document.pointer_mut(place) {
            *found = value;
        }
    };
    let api = "/paths/~1api~1v1~1";
    // Each scheme has its own header for the signature, and a client's id may be in the form.
    for method in ["post", "get", "options"] {
        let place = format!("/paths/~1in~1{{source}}/{method}/security");
        set(&place, json!([{ "signature": [] }, {}]));
    }
    let object = json!({ "type": "object" });
    let objects = json!({ "type": "array", "items": object });
    let bodies = json!({
        "application/json": { "schema": { "oneOf": [object, objects] } },
        "application/x-www-form-urlencoded": { "schema": object },
    });
    set("/paths/~1in~1{source}/post/requestBody/content", bodies);
    for path in ["token", "revoke"] {
        set(&format!("/paths/~1oauth~1{path}/post/security"), json!([{ "client": [] }, {}]));
    }
    let component =
        json!({ "application/wasm": { "schema": { "type": "string", "format": "binary" } } });
    set(&format!("{api}modules~1{{name}}/post/requestBody/content"), component.clone());
    let download = "modules~1{name}~1versions~1{version}~1component/get/responses/200/content";
    set(&format!("{api}{download}"), component);
    let event = json!({ "$ref": "#/components/schemas/NewEvent" });
    let events = json!({ "type": "array", "items": event, "minItems": 1 });
    let cloud_event =
        json!({ "type": "object", "required": ["specversion", "id", "source", "type"] });
    let cloud_events = json!({ "type": "array", "items": cloud_event, "minItems": 1 });
    let taken = json!({
        "application/json": { "schema": { "oneOf": [event, events] } },
        "application/cloudevents+json": { "schema": cloud_event },
        "application/cloudevents-batch+json": { "schema": cloud_events },
    });
    set(&format!("{api}events/post/requestBody/content"), taken);
    let receipt = json!({ "$ref": "#/components/schemas/Receipt" });
    let receipts = json!({ "type": "array", "items": receipt });
    let data = json!({ "type": "object", "required": ["data"], "properties": { "data": { "oneOf": [receipt, receipts] } } });
    let answer = json!({ "application/json": { "schema": data } });
    set(&format!("{api}events/post/responses/202/content"), answer.clone());
    set("/paths/~1in~1{source}/post/responses/202/content", answer);
    for export in ["dead-letters", "audit"] {
        let place = format!("{api}{export}~1export/get/parameters");
        let parameters = document.pointer_mut(&place).and_then(Value::as_array_mut);
        if let Some(parameters) = parameters {
            parameters
                .retain(|parameter| parameter["name"] != "limit" && parameter["name"] != "cursor");
        }
    }
    for number in ["limit", "per_page", "page"] {
        let place = format!("{api}{{resource}}/get/parameters");
        let parameters = document.pointer_mut(&place).and_then(Value::as_array_mut);
        let found = parameters.into_iter().flatten().find(|parameter| parameter["name"] == number);
        if let Some(parameter) = found {
            parameter["schema"] = json!({ "type": "integer", "minimum": 1 });
        }
    }
    may_be_empty(document);
}

/// Makes a body optional if it is an object without required fields.
fn may_be_empty(document: &mut Value) {
    let schemas = document.pointer("/components/schemas").cloned().unwrap_or_default();
    let paths = document.pointer_mut("/paths").and_then(Value::as_object_mut);
    let operations =
        paths.into_iter().flatten().filter_map(|(_, item)| item.as_object_mut()).flatten();
    for (_, operation) in operations {
        let Some(body) = operation.get_mut("requestBody") else { continue };
        let Some(schema) = body.pointer("/content/application~1json/schema") else { continue };
        let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
        let schema = name.and_then(|name| schemas.get(name)).unwrap_or(schema);
        let is_closed = schema["oneOf"].is_array() || schema["allOf"].is_array();
        let needs = schema["required"].as_array().is_some_and(|required| !required.is_empty());
        let may_be_left_out = schema["type"] == "object" && !needs && !is_closed;
        if let Some(body) = body.as_object_mut().filter(|_| may_be_left_out) {
            body.insert("required".to_owned(), json!(false));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use serde_json::Value;

    #[test]
    fn every_problem_has_its_media_type() {
        let document = document();
        let text = document.to_string();
        assert!(!text.contains(
            r##""application/json":{"schema":{"$ref":"#/components/schemas/Problem"}}"##
        ));
        let list = document.pointer("/paths/~1api~1v1~1sources/get/responses").unwrap();
        assert!(list["401"]["content"]["application/problem+json"].is_object());
    }

    #[test]
    fn what_is_set_by_path_is_there() {
        let document = document();
        for (place, expected) in [
            ("/paths/~1in~1{source}/post/security/1", Value::Object(serde_json::Map::new())),
            (
                "/paths/~1api~1v1~1modules~1{name}/post/requestBody/content/application~1wasm/schema/format",
                "binary".into(),
            ),
            ("/paths/~1api~1v1~1endpoints~1{id}~1test/post/requestBody/required", false.into()),
            ("/components/schemas/TokenSettings/properties/rate/minimum", 1.into()),
        ] {
            assert_eq!(document.pointer(place), Some(&expected), "{place}");
        }
        let events =
            "/paths/~1api~1v1~1events/post/requestBody/content/application~1cloudevents+json";
        assert!(document.pointer(events).is_some());
    }
}
