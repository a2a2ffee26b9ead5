//! The table of known senders of webhooks: how they sign, where the parts of an event are in their
//! requests, and which answer they expect.
//!
//! Sources: the specification of Standard Webhooks 1.0; "Validating webhook deliveries" (GitHub);
//! stripe-node `Webhooks.ts`; "Verify webhooks" (shopify.dev); "Verifying requests from Slack";
//! "Validating requests" (developers.hubspot.com); "Guide for Webhooks v2" (Pipedrive);
//! `class-wc-webhook.php` (WooCommerce); "Notification APIs" (Zoho CRM); "Secure your webhooks"
//! (Typeform); "Webhooks" (Meta); "Verify and validate an event notification" (Square);
//! "Configuring your server" (Xero); "Signed notifications" (Intercom); "Webhook signatures"
//! (Calendly); "Validate requests" (Twilio); "Verifying webhooks" (Zendesk); "Validate payloads"
//! (GitLab); "Securing webhooks" (Linear); "Signature verification" (Paddle); "Secure webhooks"
//! (Bitbucket); "Webhooks" (Notion); the vendors' pages and code for the three Perfex formats.

use super::proof::{SenderProof, TokenPlace};
use crate::model::signature_rule::{
    BASE64, GITHUB, HEX, HashAlgorithm, HmacRule, PERFEXAPI, STANDARD, STRIPE, THEMESIC, TIMED,
    WEBHOOK,
};

/// A known sender of webhooks.
///
/// A place is a JSON pointer (RFC 6901) or `header:NAME`. Each part of an event is taken from the
/// first of its places where something is found.
#[derive(Debug, Clone, Copy)]
pub struct WebhookSender {
    /// The name of the scheme.
    pub name: &'static str,
    /// The sender's name and features, for descriptions.
    pub title: &'static str,
    /// The verification of requests.
    pub proof: SenderProof,
    /// Whether the events have the names of a CRM's catalogue. Otherwise their types begin with the
    /// scheme's name.
    pub is_crm: bool,
    /// The event's name: places, texts, or texts with places in braces. A place that ends with `?`
    /// may be missing.
    pub event: &'static [&'static str],
    /// The data. If nothing is found, the whole body is the data.
    pub data: &'static [&'static str],
    /// The sender's id of the event or the delivery. Several pointers with spaces between them form
    /// one id.
    pub id: &'static [&'static str],
    /// The time of the event.
    pub occurred_at: &'static [&'static str],
    /// The id of the record that the event is about.
    pub resource_id: &'static [&'static str],
    /// Whether an `id` in the data is the record's id, if `resource_id` finds nothing.
    pub names_record: bool,
    /// The number of segments of the event type that name the resource, if it is not in the
    /// catalogue.
    pub resource_segments: usize,
    /// The place of an object with the old values of changed fields.
    pub previous: Option<&'static str>,
    /// The lists that hold one event in each element, from the outermost inwards. Each level has
    /// one or several names.
    pub lists: &'static [&'static [&'static str]],
    /// The prefixes of the headers that are stored as attributes.
    pub headers: &'static [&'static str],
    /// When the sender accepts only an empty `200` as success.
    pub empty_answer: EmptyAnswer,
}

/// When a sender accepts only an empty `200` as success.
#[derive(Debug, Clone, Copy)]
pub enum EmptyAnswer {
    /// Never. Any 2xx is a success.
    Never,
    Always,
    /// Only in answer to a form.
    ToForms,
}

/// The defaults for a sender with the usual envelope.
const ANY: WebhookSender = WebhookSender {
    name: "",
    title: "",
    proof: SenderProof::Nothing,
    is_crm: true,
    event: &["/event", "/type", "header:x-perfex-event"],
    data: &["/payload", "/data"],
    id: &["/delivery_id"],
    occurred_at: &["/timestamp", "/occurred_at"],
    resource_id: &[],
    names_record: true,
    resource_segments: 1,
    previous: None,
    lists: &[],
    headers: &["x-perfex-"],
    empty_answer: EmptyAnswer::Never,
};

/// The defaults for a system with event names of its own, with the whole body as data.
const OWN: WebhookSender = WebhookSender {
    is_crm: false,
    event: &["/type"],
    data: &[],
    id: &[],
    occurred_at: &[],
    headers: &[],
    ..ANY
};

/// The table of senders.
pub static SENDERS: [WebhookSender; 32] = [
    WebhookSender {
        name: "perfexapi",
        title: "PerfexAPI by OBS Technologies, in both of its headers",
        proof: SenderProof::Hmac(&[PERFEXAPI, WEBHOOK]),
        ..ANY
    },
    WebhookSender {
        name: "themesic",
        title: "the REST API module of Themesic",
        proof: SenderProof::Hmac(&[THEMESIC]),
        ..ANY
    },
    WebhookSender {
        name: "n8n-bridge",
        title: "the module N8N Bridge",
        proof: SenderProof::Hmac(&[HmacRule { header: "x-perfex-signature", ..HEX }]),
        ..ANY
    },
    WebhookSender {
        name: "standard",
        title: "Standard Webhooks 1.0, with the headers of Svix too; Waybill itself",
        proof: SenderProof::Hmac(&[
            STANDARD,
            HmacRule {
                header: "svix-signature",
                timestamp: Some("header:svix-timestamp"),
                id: Some("svix-id"),
                ..STANDARD
            },
        ]),
        event: &["/event", "/type"],
        id: &["header:webhook-id", "header:svix-id"],
        occurred_at: &["/timestamp"],
        headers: &[],
        ..ANY
    },
    WebhookSender {
        name: "github",
        title: "GitHub",
        proof: SenderProof::Hmac(&[GITHUB]),
        event: &["{header:x-github-event}.{/action?}"],
        id: &["header:x-github-delivery"],
        headers: &["x-github-"],
        ..OWN
    },
    WebhookSender {
        name: "stripe",
        title: "Stripe",
        proof: SenderProof::Hmac(&[STRIPE]),
        data: &["/data/object"],
        id: &["/id"],
        occurred_at: &["/created"],
        previous: Some("/data/previous_attributes"),
        ..OWN
    },
    WebhookSender {
        name: "shopify",
        title: "Shopify, with its old and its new header names",
        proof: SenderProof::Hmac(&[
            HmacRule { header: "x-shopify-hmac-sha256", ..BASE64 },
            HmacRule { header: "shopify-hmac-sha256", ..BASE64 },
        ]),
        event: &["header:x-shopify-topic", "header:shopify-topic"],
        id: &["header:x-shopify-webhook-id", "header:shopify-webhook-id"],
        occurred_at: &["header:x-shopify-triggered-at", "header:shopify-triggered-at"],
        resource_segments: 2,
        headers: &["x-shopify-", "shopify-"],
        ..OWN
    },
    WebhookSender {
        name: "slack",
        title: "Slack: events, slash commands, interactive components",
        proof: SenderProof::Hmac(&[HmacRule {
            header: "x-slack-signature",
            prefix: "v0=",
            timestamp: Some("header:x-slack-request-timestamp"),
            signed: "v0:{timestamp}:{body}",
            ..HEX
        }]),
        event: &["/event/type", "/type", "command.{/command}"],
        data: &["/event"],
        id: &["/event_id", "/trigger_id"],
        occurred_at: &["/event_time"],
        headers: &["x-slack-"],
        // Slack shows the answer to a command to the user.
        empty_answer: EmptyAnswer::ToForms,
        ..OWN
    },
    WebhookSender {
        name: "hubspot",
        title: "HubSpot, signature version 3",
        proof: SenderProof::Hmac(&[HmacRule {
            header: "x-hubspot-signature-v3",
            timestamp: Some("header:x-hubspot-request-timestamp"),
            signed: "{method}{url}{body}{timestamp}",
            ..BASE64
        }]),
        event: &["/subscriptionType", "/eventType"],
        // HubSpot does not promise that `eventId` alone is unique.
        id: &["/eventId /subscriptionId /objectId /occurredAt"],
        occurred_at: &["/occurredAt"],
        resource_id: &["/objectId"],
        resource_segments: 2,
        ..OWN
    },
    WebhookSender {
        name: "pipedrive",
        title: "Pipedrive, with HTTP Basic authentication",
        proof: SenderProof::Basic,
        event: &["{/meta/entity}.{/meta/action}", "{/meta/object}.{/meta/action}"],
        data: &["/data", "/current", "/previous"],
        // In version 1 `/meta/id` is the record's id. Only version 2 has `/meta/version`.
        id: &["/meta/id /meta/version"],
        occurred_at: &["/meta/timestamp"],
        resource_id: &["/meta/entity_id", "/meta/id"],
        resource_segments: 2,
        ..OWN
    },
    WebhookSender {
        name: "woocommerce",
        title: "WooCommerce",
        proof: SenderProof::Hmac(&[HmacRule { header: "x-wc-webhook-signature", ..BASE64 }]),
        event: &["header:x-wc-webhook-topic"],
        // `x-wc-webhook-delivery-id` is a hash of the webhook and the second, so two events of the
        // same second share it.
        id: &[],
        resource_segments: 2,
        headers: &["x-wc-"],
        ..OWN
    },
    WebhookSender {
        name: "zoho",
        title: "Zoho CRM's notifications, with the channel's `token`",
        proof: SenderProof::Token(TokenPlace::Body("/token")),
        event: &["{/module}.{/operation}"],
        occurred_at: &["/server_time"],
        resource_segments: 2,
        ..OWN
    },
    WebhookSender {
        name: "typeform",
        title: "Typeform",
        proof: SenderProof::Hmac(&[HmacRule {
            header: "typeform-signature",
            prefix: "sha256=",
            ..BASE64
        }]),
        event: &["/event_type"],
        data: &["/form_response"],
        id: &["/event_id"],
        occurred_at: &["/form_response/submitted_at"],
        ..OWN
    },
    WebhookSender {
        name: "meta",
        title: "Meta: Facebook pages and lead ads, Instagram, WhatsApp",
        proof: SenderProof::Hmac(&[GITHUB]),
        event: &["{/object}.{/field?}"],
        occurred_at: &["/time"],
        lists: &[&["entry"], &["changes", "messaging", "standby"]],
        // The `id` of an entry is that of the page or the account.
        names_record: false,
        resource_segments: 2,
        ..OWN
    },
    WebhookSender {
        name: "paypal",
        title: "PayPal, by its certificate",
        proof: SenderProof::PayPal,
        event: &["/event_type"],
        data: &["/resource"],
        id: &["/id"],
        occurred_at: &["/create_time"],
        ..OWN
    },
    WebhookSender {
        name: "square",
        title: "Square",
        proof: SenderProof::Hmac(&[HmacRule {
            header: "x-square-hmacsha256-signature",
            signed: "{url}{body}",
            ..BASE64
        }]),
        data: &["/data/object"],
        id: &["/event_id"],
        occurred_at: &["/created_at"],
        resource_id: &["/data/id"],
        resource_segments: 2,
        headers: &["square-"],
        ..OWN
    },
    WebhookSender {
        name: "xero",
        title: "Xero",
        proof: SenderProof::Hmac(&[HmacRule { header: "x-xero-signature", ..BASE64 }]),
        event: &["{/eventCategory}.{/eventType}"],
        id: &["/tenantId /resourceId /eventType /eventDateUtc"],
        occurred_at: &["/eventDateUtc"],
        resource_id: &["/resourceId"],
        resource_segments: 2,
        lists: &[&["events"]],
        empty_answer: EmptyAnswer::Always,
        ..OWN
    },
    WebhookSender {
        name: "intercom",
        title: "Intercom",
        proof: SenderProof::Hmac(&[HmacRule {
            algorithm: HashAlgorithm::Sha1,
            header: "x-hub-signature",
            prefix: "sha1=",
            ..HEX
        }]),
        event: &["/topic"],
        data: &["/data/item"],
        id: &["/id"],
        occurred_at: &["/created_at"],
        resource_segments: 2,
        ..OWN
    },
    WebhookSender {
        name: "calendly",
        title: "Calendly",
        proof: SenderProof::Hmac(&[HmacRule { header: "calendly-webhook-signature", ..TIMED }]),
        event: &["/event"],
        data: &["/payload"],
        id: &["/event /payload/uri /created_at"],
        occurred_at: &["/created_at"],
        resource_id: &["/payload/uri"],
        ..OWN
    },
    WebhookSender {
        name: "twilio",
        title: "Twilio, forms and JSON",
        proof: SenderProof::Hmac(&[HmacRule {
            algorithm: HashAlgorithm::Sha1,
            header: "x-twilio-signature",
            signed: "{url}{form}",
            ..BASE64
        }]),
        event: &[
            "message.{/MessageStatus}",
            "call.{/CallStatus}",
            "message.{/SmsStatus}",
            "/EventType",
            "/type",
            "request",
        ],
        id: &["header:i-twilio-idempotency-token"],
        resource_id: &["/MessageSid", "/CallSid", "/SmsSid"],
        resource_segments: 2,
        empty_answer: EmptyAnswer::Always,
        ..OWN
    },
    WebhookSender {
        name: "zendesk",
        title: "Zendesk",
        proof: SenderProof::Hmac(&[HmacRule {
            header: "x-zendesk-webhook-signature",
            timestamp: Some("header:x-zendesk-webhook-signature-timestamp"),
            signed: "{timestamp}{body}",
            ..BASE64
        }]),
        event: &["/type", "/event"],
        // The bodies of triggers are free-form, and their `id` is mostly the ticket's. Only the
        // bodies of events have a version.
        id: &["/zendesk_event_version /id", "header:x-zendesk-webhook-invocation-id"],
        occurred_at: &["/time"],
        resource_id: &["/detail/id"],
        headers: &["x-zendesk-"],
        ..OWN
    },
    WebhookSender {
        name: "gitlab",
        title: "GitLab, with its secret token",
        proof: SenderProof::Token(TokenPlace::Header { name: "x-gitlab-token", prefix: "" }),
        event: &["{/object_kind}.{/object_attributes/action?}", "/event_name"],
        // Hooks that one action triggers share an `X-Gitlab-Event-UUID`.
        id: &["header:idempotency-key"],
        headers: &["x-gitlab-"],
        ..OWN
    },
    WebhookSender {
        name: "linear",
        title: "Linear",
        proof: SenderProof::Hmac(&[HmacRule { header: "linear-signature", ..HEX }]),
        event: &["{/type}.{/action}"],
        data: &["/data"],
        id: &["header:linear-delivery"],
        occurred_at: &["/createdAt", "/webhookTimestamp"],
        headers: &["linear-"],
        resource_segments: 2,
        ..OWN
    },
    WebhookSender {
        name: "paddle",
        title: "Paddle",
        proof: SenderProof::Hmac(&[HmacRule {
            header: "paddle-signature",
            part: Some("h1"),
            timestamp: Some("part:ts"),
            signed: "{timestamp}:{body}",
            ..HEX
        }]),
        event: &["/event_type"],
        data: &["/data"],
        id: &["/event_id"],
        occurred_at: &["/occurred_at"],
        resource_segments: 2,
        ..OWN
    },
    WebhookSender {
        name: "bitbucket",
        title: "Bitbucket Cloud",
        proof: SenderProof::Hmac(&[HmacRule {
            header: "x-hub-signature",
            prefix: "sha256=",
            ..HEX
        }]),
        event: &["header:x-event-key"],
        id: &["header:x-request-uuid"],
        headers: &["x-hook-", "x-event-", "x-attempt-"],
        ..OWN
    },
    WebhookSender {
        name: "notion",
        title: "Notion",
        proof: SenderProof::Hmac(&[HmacRule {
            header: "x-notion-signature",
            prefix: "sha256=",
            ..HEX
        }]),
        id: &["/id"],
        occurred_at: &["/timestamp"],
        resource_id: &["/entity/id"],
        resource_segments: 2,
        ..OWN
    },
    WebhookSender {
        name: "cal-com",
        title: "Cal.com",
        proof: SenderProof::Hmac(&[HmacRule { header: "x-cal-signature-256", ..HEX }]),
        event: &["/triggerEvent"],
        data: &["/payload"],
        id: &["/triggerEvent /createdAt /payload/uid"],
        occurred_at: &["/createdAt"],
        ..OWN
    },
    WebhookSender {
        name: "hmac",
        title: "any HMAC, as the setting `hmac` describes it",
        proof: SenderProof::AsSet,
        ..ANY
    },
    WebhookSender {
        name: "basic",
        title: "HTTP Basic authentication; the secret is the password",
        proof: SenderProof::Basic,
        ..ANY
    },
    WebhookSender {
        name: "token",
        title: "the secret itself in a header, the query or the body, as the setting `token` describes it",
        proof: SenderProof::AsSet,
        ..ANY
    },
    WebhookSender {
        name: "ip",
        title: "no proof but the sender's address, which `from` limits",
        proof: SenderProof::Nothing,
        ..ANY
    },
    WebhookSender {
        name: "none",
        title: "any sender: nothing is verified, and anyone who knows the address can send",
        proof: SenderProof::Nothing,
        ..ANY
    },
];
