//! Tests of the embedded catalogue, and of the build script's messages about wrong files.

use std::collections::BTreeSet;

use serde_json::Value;

use super::compile::compile_catalog;
use super::{get, sample};

/// Columns with passwords, keys, addresses of visitors, or links that open a document without a
/// password.
const SENSITIVE: [&str; 14] = [
    "password",
    "new_pass_key",
    "email_verification_key",
    "last_ip",
    "hash",
    "token",
    "short_link",
    "acceptance_ip",
    "signature",
    "stripe_id",
    "ticketkey",
    "two_factor_auth_code",
    "google_auth_secret",
    "stripe_subscription_id",
];

#[test]
fn names_are_dotted_unique_and_sorted() {
    let names: Vec<&str> = get().event_types().iter().map(|event| event.name).collect();
    assert_eq!(names.len(), 153);
    assert!(names.is_sorted_by(|one, other| one < other));
    for event in get().event_types() {
        let words: Vec<&str> = event.name.split('.').collect();
        assert!(
            matches!(words.as_slice(), [resource, _] if *resource == event.resource),
            "{event:?}"
        );
        assert!(event.description.ends_with('.'), "{event:?}: a description is a sentence");
    }
}

#[test]
fn examples_and_samples_match_their_schema() {
    for event in get().event_types() {
        let schema = event.schema();
        jsonschema::meta::validate(&schema).unwrap_or_else(|e| panic!("{}: {e}", event.name));
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        for n in [0, 1, 7, 123_456] {
            let data = sample(event.name, n).unwrap();
            let errors: Vec<String> = validator
                .iter_errors(&data)
                .map(|e| format!("{}: {e}", e.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{} sample {n}: {errors:?}", event.name);
        }
        assert!(!validator.is_valid(&Value::from("text")), "{}: anything goes", event.name);
    }
}

#[test]
fn no_sensitive_column_is_described_or_shown() {
    for event in get().event_types() {
        for text in [event.schema_text(), event.example_text()] {
            for column in SENSITIVE {
                assert!(!text.contains(&format!("\"{column}\"")), "{} has {column}", event.name);
            }
        }
    }
}

#[test]
fn a_status_change_names_both_sides() {
    let lead = get().find("lead.status_changed").unwrap();
    let example = lead.example();
    assert_eq!(example["old_status"], "2");
    assert_eq!(example["new_status"], example["status"]);
    let schema = lead.schema();
    let required: BTreeSet<&str> =
        schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(required, BTreeSet::from(["id", "old_status", "new_status"]));
    assert_eq!(lead.resource_id(&example).as_deref(), Some("311"));
}

#[test]
fn serialises_as_the_api_answers() {
    let answer = |name| serde_json::to_value(get().find(name).unwrap()).unwrap();
    let members =
        |answer: &Value| -> Vec<String> { answer.as_object().unwrap().keys().cloned().collect() };
    let always = ["name", "resource", "description", "aliases", "schema", "example"];
    assert_eq!(members(&answer("invoice.created")), always);
    let answer = answer("invoice.paid");
    assert_eq!(members(&answer), [&always[..], &["example_changes"]].concat());
    let changed = answer["example_changes"]["changed"].as_array().unwrap();
    assert!(changed.contains(&Value::from("status")), "{changed:?}");
    assert_eq!(answer["example"]["total"], "480.00");
    assert_eq!(answer["schema"]["title"], "invoice.paid");
}

#[test]
fn the_nearest_name_is_found() {
    assert_eq!(get().nearest("invoice.payed"), Some("invoice.paid"));
    assert_eq!(get().nearest("lead.convertd"), Some("lead.converted"));
    assert_eq!(get().nearest("zzz"), None);
    assert!(get().find("invoice.payed").is_none());
}

#[test]
fn a_sample_is_the_same_for_the_same_number_and_its_sums_hold() {
    for n in 0..50 {
        let one = sample("invoice.created", n).unwrap();
        assert_eq!(one, sample("invoice.created", n).unwrap());
        let cents =
            |name: &str| one[name].as_str().unwrap().replace('.', "").parse::<i64>().unwrap();
        assert_eq!(cents("subtotal") + cents("total_tax"), cents("total"));
    }
    let (first, next) = (sample("lead.created", 0).unwrap(), sample("lead.created", 1).unwrap());
    assert_ne!(first["id"], next["id"]);
    assert_ne!(first["company"], next["company"]);
    assert_eq!(sample("invoice.created", 5).unwrap()["formatted_number"], "INV-000133");
    assert!(sample("no.such_event", 1).is_none());
}

const GOOD: &str = r#"
resource = "widget"
about = "A thing."
key = "id"
sensitive = ["secret_code"]
[fields]
id = { type = "id", of = "widget" }
status = { type = "choice", values = { 1 = "new", 2 = "old" } }
[example]
id = "1"
status = "1"
[events.created]
about = "A widget was made."
"#;

fn problems(text: &str) -> String {
    let files = [("widget.toml".to_owned(), text.to_owned())];
    match compile_catalog(&files) {
        Ok(compiled) => format!("{} fine", compiled.len()),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

#[test]
fn a_good_file_becomes_an_event_type() {
    let text = GOOD.replace(
        "A widget was made.\"",
        "A widget was made.\"\nchanges = \"status\"\nfrom = \"1\"\nexample = { status = \"2\" }",
    );
    let compiled = compile_catalog(&[("widget.toml".to_owned(), text)]).unwrap().remove(0);
    assert_eq!(
        (compiled.key.as_str(), compiled.description.as_str()),
        ("id", "A widget was made.")
    );
    assert_eq!(
        compiled.example,
        serde_json::json!({ "id": "1", "status": "2", "old_status": "1", "new_status": "2" })
    );
    assert_eq!(compiled.schema["required"], serde_json::json!(["id", "old_status", "new_status"]));
    assert_eq!(compiled.vary, [("/id".to_owned(), "Row".to_owned())]);
}

#[test]
fn wrong_files_are_refused_with_file_place_and_remedy() {
    assert_eq!(problems(GOOD), "1 fine");
    let cases = [
        (
            GOOD.replace("status = \"1\"", "status = \"9\""),
            "expected one of \"1\" (new), \"2\" (old)",
        ),
        (GOOD.replace("status = \"1\"", ""), "the example lacks status"),
        (
            format!("{GOOD}example = {{ colour = \"red\" }}"),
            "widget.created: example colour is not a field",
        ),
        (format!("{GOOD}aliases = [\"widget.born\"]"), "alias \"widget.born\" is not an event"),
        (format!("{GOOD}changes = \"status\""), "changes = \"status\" also needs from = \"OLD\""),
        (format!("{GOOD}changes = \"size\""), "changes = \"size\" is not a field"),
        (
            GOOD.replace("type = \"id\"", "type = \"number\""),
            "type \"number\" is not one of id, int",
        ),
        (
            GOOD.replace("id = {", "secret_code = { type = \"text\" }\nid = {"),
            "secret_code is sensitive",
        ),
        (GOOD.replace("of = \"widget\"", "of = \"gadget\""), "\"gadget\", which is not a resource"),
        (GOOD.replace("events.created", "events.Created"), "the name is not lower-case words"),
        (GOOD.replace("about = \"A widget was made.\"", ""), "missing field `about`"),
        (GOOD.replace("\"widget\"\nabout", "\"gizmo\"\nabout"), "name the file after it"),
        (GOOD.replace("key = \"id\"", "keys = \"id\""), "unknown field `keys`"),
    ];
    for (text, expected) in cases {
        let said = problems(&text);
        assert!(said.contains(expected), "expected {expected:?} in {said:?}");
        assert!(said.starts_with("host/catalog/widget.toml: "), "{said}");
    }
}
