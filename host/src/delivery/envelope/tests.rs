use super::*;

fn message(data: &str) -> EnvelopeMessage<'_> {
    EnvelopeMessage {
        delivery_id: "dlv_1",
        event_id: "evt_1",
        event_type: "invoice.paid",
        timestamp: "2026-03-01T09:30:00.000Z",
        source: "crm",
        resource: Some("invoice"),
        resource_id: Some("17"),
        data,
        ..EnvelopeMessage::default()
    }
}

fn body(envelope: EnvelopeForm, message: &EnvelopeMessage<'_>) -> String {
    String::from_utf8(render_envelope(envelope, message).unwrap().body).unwrap()
}

const DATA: &str = r#"{ "total" : 100.00, "10":1, "9":2, "path":"a\/b" }"#;
const CANONICAL: &str = r#"{"9":2,"10":1,"total":100,"path":"a/b"}"#;

#[test]
fn the_default_envelope_follows_the_contract() {
    let expected = format!(
        r#"{{"event":"invoice.paid","id":"evt_1","delivery_id":"dlv_1","timestamp":"2026-03-01T09:30:00.000Z","source":"crm","resource":"invoice","resource_id":"17","payload":{CANONICAL}}}"#
    );
    let rendered = render_envelope(EnvelopeForm::Default, &message(DATA)).unwrap();
    assert_eq!(String::from_utf8(rendered.body).unwrap(), expected);
    assert_eq!(rendered.content_type, "application/json");
    assert_eq!(rendered.headers, []);
}

#[test]
fn unknown_members_are_left_out_and_known_ones_follow_the_payload() {
    let bare = EnvelopeMessage { resource: None, resource_id: None, ..message("null") };
    let whole = body(EnvelopeForm::Default, &bare);
    assert!(whole.ends_with(r#""source":"crm","payload":null}"#), "{whole}");
    let full = EnvelopeMessage {
        changed: Some(r#"[ "total" ]"#),
        previous: Some(r#"{"total": 1.0}"#),
        collapsed: Some(3),
        ..message("{}")
    };
    let whole = body(EnvelopeForm::Default, &full);
    let tail = r#""payload":{},"changed":["total"],"previous":{"total":1},"collapsed":3}"#;
    assert!(whole.ends_with(tail), "{whole}");
}

#[test]
fn texts_are_escaped() {
    let whole =
        body(EnvelopeForm::Default, &EnvelopeMessage { source: "a\"b\n/é", ..message("1") });
    assert!(whole.contains(r#""source":"a\"b\n/é""#), "{whole}");
}

#[test]
fn standard_has_type_timestamp_and_data() {
    let expected = format!(
        r#"{{"type":"invoice.paid","timestamp":"2026-03-01T09:30:00.000Z","data":{CANONICAL}}}"#
    );
    assert_eq!(body(EnvelopeForm::Standard, &message(DATA)), expected);
}

#[test]
fn raw_is_the_data_byte_for_byte() {
    assert_eq!(body(EnvelopeForm::Raw, &message(DATA)), DATA);
}

#[test]
fn cloudevents_structured() {
    let attributes =
        [("partitionkey".to_owned(), "p".to_owned()), ("no-name".to_owned(), "x".to_owned())];
    let rendered = render_envelope(
        EnvelopeForm::CloudEvents,
        &EnvelopeMessage {
            source: "my crm",
            collapsed: Some(2),
            extensions: Some(r#"{"partitionkey":"old","traced":true,"n":5,"id":"x","7":"x","Upper":"x","o":{},"z":null}"#),
            attributes: &attributes,
            ..message(DATA)
        },
    )
    .unwrap();
    let expected = format!(
        r#"{{"specversion":"1.0","id":"evt_1","source":"my%20crm","type":"invoice.paid","subject":"17","time":"2026-03-01T09:30:00.000Z","datacontenttype":"application/json","deliveryid":"dlv_1","collapsed":2,"traced":true,"n":5,"partitionkey":"p","data":{CANONICAL}}}"#
    );
    assert_eq!(String::from_utf8(rendered.body).unwrap(), expected);
    assert_eq!(rendered.content_type, "application/cloudevents+json");
}

#[test]
fn cloudevents_binary_has_its_attributes_in_headers() {
    let attributes = [("comment".to_owned(), "Grüße \"50%\"\n".to_owned())];
    let message = EnvelopeMessage {
        resource_id: Some("17 a"),
        collapsed: Some(2),
        extensions: Some(r#"{"traced":true}"#),
        attributes: &attributes,
        ..message(DATA)
    };
    let rendered = render_envelope(EnvelopeForm::CloudEventsBinary, &message).unwrap();
    assert_eq!(String::from_utf8(rendered.body).unwrap(), CANONICAL);
    assert_eq!(rendered.content_type, "application/json");
    let headers: Vec<(&str, &str)> = rendered
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let expected = [
        ("ce-specversion", "1.0"),
        ("ce-id", "evt_1"),
        ("ce-source", "crm"),
        ("ce-type", "invoice.paid"),
        ("ce-time", "2026-03-01T09:30:00.000Z"),
        ("ce-subject", "17%20a"),
        ("ce-deliveryid", "dlv_1"),
        ("ce-collapsed", "2"),
        ("ce-traced", "true"),
        ("ce-comment", "Gr%C3%BC%C3%9Fe%20%2250%25%22%0A"),
    ];
    assert_eq!(headers, expected);
}

#[test]
fn canonical_bodies_are_already_canonical() {
    let full = EnvelopeMessage {
        changed: Some(r#"["\u00e9"]"#),
        previous: Some("{}"),
        collapsed: Some(1),
        extensions: Some(r#"{"n":1.50,"big":123456789012345678901}"#),
        ..message(DATA)
    };
    for envelope in [
        EnvelopeForm::Default,
        EnvelopeForm::Standard,
        EnvelopeForm::CloudEvents,
        EnvelopeForm::CloudEventsBinary,
    ] {
        let whole = body(envelope, &full);
        let mut again = Vec::new();
        canonical::write_canonical(&whole, &mut again).unwrap();
        assert_eq!(String::from_utf8(again).unwrap(), whole);
    }
}

#[test]
fn data_that_is_not_json_is_an_error() {
    assert!(render_envelope(EnvelopeForm::Default, &message("{")).is_err());
    assert!(render_envelope(EnvelopeForm::CloudEvents, &message("")).is_err());
}

#[test]
fn envelope_names_follow_the_contract() {
    for envelope in [
        EnvelopeForm::Default,
        EnvelopeForm::Standard,
        EnvelopeForm::CloudEvents,
        EnvelopeForm::CloudEventsBinary,
        EnvelopeForm::Raw,
    ] {
        assert_eq!(serde_json::to_value(envelope).unwrap(), envelope.as_str());
        assert_eq!(
            serde_json::from_value::<EnvelopeForm>(envelope.as_str().into()).unwrap(),
            envelope
        );
    }
}
