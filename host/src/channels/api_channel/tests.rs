use super::*;
use crate::expression::event_subject::EventSubject;
use serde_json::{Value, json};
use std::sync::OnceLock;

fn operations(settings: Value) -> Arc<ApiOperations> {
    let endpoint = json!({"name": "crm", "kind": "api", "url": "https://crm.example/base"});
    let endpoint = serde_json::from_value(endpoint).unwrap();
    let settings = serde_json::from_value(settings).unwrap();
    let opened = ApiChannel::open(&endpoint, settings, &ChannelsSection::default()).unwrap();
    let EndpointChannel::Api(operations) = opened else { panic!("{opened:?}") };
    operations
}

fn faults(settings: Value) -> Vec<String> {
    let settings = serde_json::from_value(settings).unwrap();
    let faults = ApiChannel::check(&settings, &ChannelsSection::default());
    faults.into_iter().map(|fault| fault.path).collect()
}

fn subject(data: &str) -> EventSubject<'_> {
    EventSubject {
        event_type: "lead.captured",
        source: "web",
        resource: Some("lead"),
        record_id: Some("17"),
        data,
        changes: None,
        attributes: None,
        members: OnceLock::new(),
    }
}

#[test]
fn faults_name_the_operation_and_the_place_in_it() {
    for (settings, place) in [
        (json!({}), "operations"),
        (json!({"preset": "perfex"}), "preset"),
        (json!({"operations": {"a": {}}}), "operations.a.path"),
        (json!({"operations": {"A b": {"path": "/x"}}}), "operations.A b"),
        (json!({"operations": {"a": {"path": "/{data.x"}}}), "operations.a.path"),
        (
            json!({"operations": {"a": {"path": "/x", "body": {"b": "=1 +"}}}}),
            "operations.a.body.b",
        ),
        (
            json!({"operations": {"a": {"path": "/x", "method": "GET", "body": {}}}}),
            "operations.a.body",
        ),
        (
            json!({"operations": {"a": {"path": "/x", "reply": {"event": "created"}}}}),
            "operations.a.reply.event",
        ),
        (
            json!({"operations": {"a": {"path": "/x", "reply": {"event": "waybill.x"}}}}),
            "operations.a.reply.event",
        ),
        (
            json!({"operations": {"a": {"path": "/x", "reply": {"event": "x.y", "id": "id"}}}}),
            "operations.a.reply.id",
        ),
        (
            json!({"operations": {"a": {"path": "/x", "again": {"path": "x", "found": "/id"}}}}),
            "operations.a.again.path",
        ),
        (
            json!({"operations": {"a": {"path": "/x", "events": ["x.y"]}, "b": {"path": "/x", "events": ["x.y"]}}}),
            "operations.b.events",
        ),
    ] {
        assert_eq!(faults(settings.clone()), [place], "{settings}");
    }
    assert!(
        faults(
            json!({"preset": "perfexapi", "operations": {"lead_create": {"events": ["lead.*"]}}})
        )
        .is_empty()
    );
}

#[test]
fn an_operation_is_chosen_by_name_or_by_the_longest_pattern() {
    let made = operations(json!({"preset": "perfexapi", "operations": {
        "lead_create": {"events": ["lead.captured"]}, "lead_update": {"events": ["lead.*"]},
        "other": {"path": "/other", "events": ["*"]}}}));
    let path = |event: &str, named| {
        made.choose_operation(event, named).unwrap().settings.path.clone().unwrap()
    };
    assert_eq!(path("lead.captured", None), "/api/v1/leads");
    assert_eq!(path("lead.lost", None), "/api/v1/leads/{id}");
    assert_eq!(path("invoice.paid", None), "/other");
    assert_eq!(path("invoice.paid", Some("invoice_send")), "/api/v1/invoices/{id}/send");
    let why = made.choose_operation("invoice.paid", Some("lead_creat")).unwrap_err();
    assert!(why.ends_with("did you mean `lead_create`?"), "{why}");
    let preset = operations(json!({"preset": "perfexapi"}));
    assert!(
        preset
            .choose_operation("lead.captured", None)
            .unwrap_err()
            .contains("no operation accepts")
    );
    let only = operations(json!({"operations": {"one": {"path": "/one"}}}));
    assert_eq!(only.choose_operation("x.y", None).unwrap().settings.path.as_deref(), Some("/one"));
}

#[test]
fn a_request_has_the_data_as_its_body_where_nothing_else_is_set() {
    let made = operations(json!({"operations": {
        "create": {"path": "/leads"}, "remove": {"method": "DELETE", "path": "/leads/{id}"}}}));
    let data = r#"{"name":"Zoë"}"#;
    let create = made.find_named("create").unwrap().render_request(&subject(data)).unwrap();
    assert_eq!((create.path.as_str(), create.body.as_deref()), ("/leads", Some(data.as_bytes())));
    let remove = made.find_named("remove").unwrap().render_request(&subject(data)).unwrap();
    assert_eq!((remove.path.as_str(), remove.body), ("/leads/17", None));
}

#[test]
fn nothing_is_asked_that_would_list_all() {
    let again = json!({"path": "/leads", "query": {"email": "=has(data.email) ? data.email : null"}, "found": "/0/id"});
    let made = operations(json!({"operations": {"create": {"path": "/leads", "again": again}}}));
    let create = made.find_named("create").unwrap();
    let subject_with = subject(r#"{"email":"z@x.example"}"#);
    let (request, found) = create.render_again(&subject_with).unwrap().unwrap();
    assert_eq!((request.query.as_str(), found), ("email=z%40x.example", "/0/id"));
    for data in ["{}", r#"{"email":""}"#] {
        assert!(create.render_again(&subject(data)).is_err(), "{data}");
    }
}

#[test]
fn accounting_presets_send_what_their_descriptions_ask_for() {
    let data = r#"{"Id":"7","SyncToken":"0"}"#;
    for (preset, operation, path, query, body) in [
        (
            "xero",
            "invoice_create",
            "/Invoices",
            "summarizeErrors=true&unitdp=4",
            r#"{"Invoices":[{"Id":"7","SyncToken":"0"}]}"#,
        ),
        (
            "xero",
            "contact_update",
            "/Contacts/17",
            "",
            r#"{"Contacts":[{"Id":"7","SyncToken":"0"}]}"#,
        ),
        ("quickbooks", "invoice_create", "/invoice", "", data),
        ("quickbooks", "credit_note_delete", "/creditmemo", "operation=delete", data),
    ] {
        let made = operations(json!({"preset": preset}));
        let request = made.find_named(operation).unwrap().render_request(&subject(data)).unwrap();
        assert_eq!((request.path.as_str(), request.query.as_str()), (path, query), "{operation}");
        assert_eq!(request.body.as_deref(), Some(body.as_bytes()), "{operation}");
    }
}
