//! Checks templates as operators write them, and the requests that result.

use super::*;
use serde_json::json;
use std::sync::OnceLock;

const LEAD: &str = r#"{"id":17,"name":"Zoë \"Z\" Ng","email":"z@x.example","total":900.00,
    "big":9007199254740993,"address":{"zip":"10115","city":"Berlin"},"tags":["a","b"],
    "slash":"a/b c","dots":"..","empty":"","nothing":null}"#;

fn subject(data: &str) -> EventSubject<'_> {
    EventSubject {
        event_type: "lead.created",
        source: "crm",
        resource: Some("lead"),
        record_id: None,
        data,
        changes: Some(r#"{"changed":["name"],"previous":{"name":"old"}}"#),
        attributes: Some(r#"{"shop":"north"}"#),
        members: OnceLock::new(),
    }
}

fn settings(more: &Value) -> EndpointSettings {
    let mut settings = json!({"name": "a", "url": "https://h.example/api"});
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    serde_json::from_value(settings).unwrap()
}

fn render(more: &Value) -> Result<TemplatedRequest, TemplateFault> {
    RequestTemplate::read(&settings(more)).unwrap().render(&subject(LEAD))
}

fn body(template: &Value) -> String {
    let made = render(&json!({"body": template})).unwrap();
    String::from_utf8(made.body.unwrap()).unwrap()
}

fn faults(more: &Value) -> Vec<String> {
    let faults = RequestTemplate::read(&settings(more)).unwrap_err();
    faults.into_iter().map(|fault| format!("{}: {}", fault.path, fault.message)).collect()
}

#[test]
fn a_body_is_sent_as_written_with_values_of_the_event() {
    for (template, wanted) in [
        (json!({"name": "=data.name", "kind": "lead"}), r#"{"name":"Zoë \"Z\" Ng","kind":"lead"}"#),
        (json!(["=data.id", "=data.total", true, null, 1.5]), "[17,900,true,null,1.5]"),
        // A member keeps its digits and its position. JavaScript keeps this number as a text.
        (json!("=data.big"), r#""9007199254740993""#),
        (json!({"a": "=data.address"}), r#"{"a":{"zip":"10115","city":"Berlin"}}"#),
        (json!({"n": "=double(data.id) * 2.5"}), r#"{"n":42.5}"#),
        (json!({"t": "=type + \"/\" + source"}), r#"{"t":"lead.created/crm"}"#),
        (json!("=has(data.phone) ? data.phone : null"), "null"),
        (json!("=data.tags.filter(t, t != \"a\")"), r#"["b"]"#),
        (json!("={\"b\": 1, \"a\": [true, 2.5]}"), r#"{"a":[true,2.5],"b":1}"#),
        (
            json!({"c": "=changed", "p": "=previous.name", "s": "=attributes.shop"}),
            r#"{"c":["name"],"p":"old","s":"north"}"#,
        ),
        (json!({"id": "=id", "resource": "=resource"}), r#"{"id":null,"resource":"lead"}"#),
        (json!("=\"=text\""), r#""=text""#),
    ] {
        assert_eq!(body(&template), wanted, "{template}");
    }
}

#[test]
fn a_path_and_a_query_hold_encoded_values() {
    let made = render(&json!({
        "method": "PUT",
        "path": "/leads/{data.id}/{data.slash}/{data.address[\"zip\"]}ö",
        "query": {"mail": "=data.email", "fixed": "a b&c", "none": "=data.nothing", "n": "=data.id"},
    }));
    let made = made.unwrap();
    assert_eq!(made.path, "/leads/17/a%2Fb%20c/10115%C3%B6");
    assert_eq!(made.query, "fixed=a%20b%26c&mail=z%40x.example&n=17");
    assert_eq!(made.body, None);
    let braces = render(&json!({"path": "/x/{ {\"a}\": \"}'\"}[\"a}\"] }/y"})).unwrap();
    assert_eq!(braces.path, "/x/%7D%27/y");
}

#[test]
fn a_value_that_cannot_be_computed_makes_no_request() {
    for (more, place, why) in [
        (json!({"body": {"a": [1, "=data.phone"]}}), "body.a[1]", "no such key `phone`"),
        (json!({"body": {"n": "=data.id / 0"}}), "body.n", "division by zero"),
        (json!({"body": "=type(data.id)"}), "body", "JSON does not have"),
        (json!({"path": "/leads/{data.empty}"}), "path", "null or empty"),
        (json!({"path": "/leads/{data.nothing}"}), "path", "null or empty"),
        (json!({"path": "/leads/{data.dots}/x"}), "path", "`..`"),
        (json!({"path": "/leads/.{\".\"}"}), "path", "`..`"),
        (json!({"path": "/leads/{data.tags}"}), "path", "a list, not a text"),
        (json!({"query": {"a": "=data.address"}}), "query.a", "an object, not a text"),
    ] {
        let fault = render(&more).unwrap_err();
        assert_eq!(fault.place, place, "{more}: {fault}");
        assert!(fault.why.contains(why), "{more}: {fault}");
    }
}

#[test]
fn invalid_templates_are_refused_with_their_place() {
    for (more, wanted) in [
        (
            json!({"body": {"a": {"b": "=data.total >="}}}),
            "body.a.b: line 1, column 15, at the end: a value is missing",
        ),
        (json!({"body": ["x", "=dat.total"]}), "body[1]: line 1, column 2, at `dat.total`"),
        (json!({"body": "="}), "body: line 1, column 2: an expression is missing"),
        (json!({"query": {"q": "=data.x.map(i, i)"}}), "query.q: line 1, column"),
        (json!({"path": "/a/{dat.x}"}), "path: line 1, column 5, at `dat.x`"),
        (json!({"path": "/a/{data.x"}), "path: line 1, column 4, at `{`: `}` is missing"),
        (json!({"path": "/a/x}"}), "path: `}` stands without `{`"),
        (json!({"path": "a"}), "path: a path begins with `/`"),
        (json!({"path": "/a?b=1"}), "path: a path has no `?`"),
        (json!({"body": {}, "envelope": "raw"}), "envelope: `body` takes the place"),
    ] {
        let told = faults(&more);
        assert!(told[0].starts_with(wanted), "{more}: {told:?}");
    }
    let many = vec!["=data.id"; 201];
    assert_eq!(faults(&json!({"body": many})), ["body: at most 200 expressions"]);
}

#[test]
fn the_size_of_a_request_is_bounded() {
    let long = format!(r#"{{"t":"{}"}}"#, "x".repeat(3_000_000));
    let template = settings(&json!({"body": ["=data.t", "=data.t"]}));
    let fault = RequestTemplate::read(&template).unwrap().render(&subject(&long)).unwrap_err();
    assert_eq!(fault.place, "body[1]");
    assert!(fault.why.contains("too long"), "{fault}");
    let many = vec!["=size(data.t + \"\")"; 20];
    let template = settings(&json!({"body": many}));
    let fault = RequestTemplate::read(&template).unwrap().render(&subject(&long)).unwrap_err();
    assert!(fault.why.contains("too many or too long values"), "{fault}");
}
