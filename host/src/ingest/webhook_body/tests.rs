//! What each sender's requests are read as.

use super::*;
use serde_json::json;

/// What an event became: its type, its id, its record, and its attributes.
type Read = (&'static str, &'static str, &'static str, &'static str);

fn read_all(scheme: &str, headers: &[(&str, &str)], body: &str) -> Vec<IncomingEvent> {
    let settings: WebhookSettings = serde_json::from_value(json!({"scheme": scheme})).unwrap();
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap()))
        .collect();
    let received = ReceivedWebhook {
        source: "x",
        headers: &headers,
        body: body.as_bytes(),
        max_events: 10,
        max_body: 10_000,
    };
    read_webhook(received, &settings).unwrap().events
}

fn check(scheme: &str, headers: &[(&str, &str)], body: &str, wanted: &[Read]) {
    let events = read_all(scheme, headers, body);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let found: Vec<_> = events
        .iter()
        .map(|event| {
            let attributes = event.attributes.as_ref().map(|json| json.get().to_owned());
            (event.event_type.clone(), text(&event.id), text(&event.resource_id), text(&attributes))
        })
        .collect();
    let wanted: Vec<_> = wanted
        .iter()
        .map(|(kind, id, record, attributes)| {
            ((*kind).to_owned(), (*id).to_owned(), (*record).to_owned(), (*attributes).to_owned())
        })
        .collect();
    assert_eq!(found, wanted, "{scheme}");
}

#[test]
fn systems_of_sales_are_read() {
    check(
        "pipedrive",
        &[],
        r#"{"meta":{"action":"change","entity":"deal","entity_id":"7","id":"u-1","version":"2.0"},"data":{"id":7},"previous":{"value":1}}"#,
        &[(
            "pipedrive.deal.change",
            "u-1 2.0",
            "7",
            r#"{"meta":{"action":"change","entity":"deal","entity_id":"7","id":"u-1","version":"2.0"},"previous":{"value":1}}"#,
        )],
    );
    // Version 1 has no id of the event: the record's must not pass for it.
    check(
        "pipedrive",
        &[],
        r#"{"v":1,"meta":{"action":"updated","object":"deal","id":7},"current":{"id":7},"previous":null}"#,
        &[(
            "pipedrive.deal.updated",
            "",
            "7",
            r#"{"v":1,"meta":{"action":"updated","object":"deal","id":7},"previous":null}"#,
        )],
    );
    check(
        "zoho",
        &[],
        r#"{"module":"Leads","operation":"update","ids":["1","2"],"token":"secret"}"#,
        &[("zoho.Leads.update", "", "", "")],
    );
    let zoho = read_all("zoho", &[], r#"{"module":"Leads","operation":"update","token":"secret"}"#);
    assert_eq!(zoho[0].data.get(), r#"{"module":"Leads","operation":"update"}"#);
    check(
        "calendly",
        &[],
        r#"{"event":"invitee.created","created_at":"2026-01-02T03:04:05.678901Z","created_by":"u","payload":{"uri":"i-1"}}"#,
        &[(
            "calendly.invitee.created",
            "invitee.created i-1 2026-01-02T03:04:05.678901Z",
            "i-1",
            r#"{"createdby":"u"}"#,
        )],
    );
    check(
        "typeform",
        &[],
        r#"{"event_id":"e","event_type":"form_response","form_response":{"form_id":"f"}}"#,
        &[("typeform.form_response", "e", "", "")],
    );
    check(
        "intercom",
        &[],
        r#"{"type":"notification_event","topic":"contact.created","id":"n","app_id":"a","created_at":1700000000,"data":{"item":{"id":"c"}}}"#,
        &[(
            "intercom.contact.created",
            "n",
            "",
            r#"{"sendertype":"notification_event","appid":"a"}"#,
        )],
    );
}

#[test]
fn systems_of_money_are_read() {
    check(
        "square",
        &[("square-environment", "Production")],
        r#"{"merchant_id":"M","type":"payment.created","event_id":"e","data":{"type":"payment","id":"p","object":{"payment":{"id":"p"}}}}"#,
        &[(
            "square.payment.created",
            "e",
            "p",
            r#"{"merchantid":"M","sendertype":"payment","senderid":"p","environment":"Production"}"#,
        )],
    );
    check(
        "paypal",
        &[],
        r#"{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED","summary":"s","resource":{"id":"r"}}"#,
        &[("paypal.PAYMENT.SALE.COMPLETED", "WH-1", "", r#"{"summary":"s"}"#)],
    );
    check(
        "paddle",
        &[],
        r#"{"event_id":"e","event_type":"transaction.paid","data":{"id":"t"},"notification_id":"n"}"#,
        &[("paddle.transaction.paid", "e", "", r#"{"notificationid":"n"}"#)],
    );
    check(
        "xero",
        &[],
        r#"{"events":[{"tenantId":"t","resourceId":"r","eventType":"UPDATE","eventDateUtc":"d","eventCategory":"INVOICE"}],"entropy":"x"}"#,
        &[("xero.INVOICE.UPDATE", "t r UPDATE d", "r", "")],
    );
}

#[test]
fn systems_of_messages_are_read() {
    check(
        "meta",
        &[],
        r#"{"object":"page","entry":[{"id":"p","time":1700000000,"changes":[{"field":"leadgen","value":{"leadgen_id":1}},{"field":"feed","value":{}}]},{"id":"q","time":1,"messaging":[{"sender":{"id":"s"}}]}]}"#,
        &[
            ("meta.page.leadgen", "", "", ""),
            ("meta.page.feed", "", "", ""),
            ("meta.page", "", "", ""),
        ],
    );
    let form = [("content-type", "application/x-www-form-urlencoded")];
    check(
        "twilio",
        &form,
        "MessageSid=SM1&MessageStatus=delivered&To=%2B1",
        &[("twilio.message.delivered", "", "SM1", "")],
    );
    check(
        "twilio",
        &form,
        "CallSid=CA1&CallStatus=ringing",
        &[("twilio.call.ringing", "", "CA1", "")],
    );
    check("twilio", &form, "Other=1", &[("twilio.request", "", "", "")]);
    check(
        "zendesk",
        &[("x-zendesk-webhook-id", "w"), ("x-zendesk-webhook-signature", "s")],
        r#"{"id":"e","type":"zen:event-type:user.created","zendesk_event_version":"v","detail":{"id":"1"}}"#,
        &[(
            "zendesk.zen_event-type_user.created",
            "v e",
            "1",
            r#"{"webhookid":"w","eventname":"zen:event-type:user.created"}"#,
        )],
    );
}

#[test]
fn systems_of_code_are_read() {
    check(
        "gitlab",
        &[
            ("idempotency-key", "k"),
            ("x-gitlab-event", "Merge Request Hook"),
            ("x-gitlab-token", "s"),
        ],
        r#"{"object_kind":"merge_request","object_attributes":{"action":"open"}}"#,
        &[("gitlab.merge_request.open", "k", "", r#"{"event":"Merge Request Hook"}"#)],
    );
    check("gitlab", &[], r#"{"object_kind":"push"}"#, &[("gitlab.push", "", "", "")]);
    check(
        "bitbucket",
        &[("x-event-key", "repo:push"), ("x-request-uuid", "u"), ("x-hook-uuid", "h")],
        "{}",
        &[(
            "bitbucket.repo_push",
            "u",
            "",
            r#"{"key":"repo:push","uuid":"h","eventname":"repo:push"}"#,
        )],
    );
    check(
        "linear",
        &[("linear-delivery", "d"), ("linear-event", "Issue"), ("linear-signature", "s")],
        r#"{"action":"create","type":"Issue","data":{"id":"i"},"organizationId":"o"}"#,
        &[(
            "linear.Issue.create",
            "d",
            "",
            r#"{"action":"create","sendertype":"Issue","organizationid":"o","delivery":"d","event":"Issue"}"#,
        )],
    );
    check(
        "notion",
        &[],
        r#"{"id":"e","type":"page.created","entity":{"id":"p","type":"page"}}"#,
        &[("notion.page.created", "e", "p", "")],
    );
    check(
        "cal-com",
        &[],
        r#"{"triggerEvent":"BOOKING_CREATED","createdAt":"2026-01-02T03:04:05Z","payload":{"uid":"b"}}"#,
        &[("cal-com.BOOKING_CREATED", "BOOKING_CREATED 2026-01-02T03:04:05Z b", "", "")],
    );
}

#[test]
fn an_id_that_cannot_be_kept_is_its_digest() {
    let body = json!({"event": "a.b", "delivery_id": "x".repeat(300), "data": {}}).to_string();
    let id = read_all("none", &[], &body).remove(0).id.unwrap();
    assert_eq!(id.len(), 32);
    let body = json!({"event": "a.b", "delivery_id": "a\u{0}", "data": {}}).to_string();
    assert_eq!(read_all("none", &[], &body).remove(0).id.unwrap().len(), 32);
}

#[test]
fn resources_of_one_system_stay_apart() {
    let topic = |topic| [("x-shopify-topic", topic)];
    let resource =
        |name| read_all("shopify", &topic(name), r#"{"id":8}"#).remove(0).resource.unwrap();
    assert_eq!(resource("orders/create"), "shopify.orders");
    assert_eq!(resource("products/update"), "shopify.products");
}
