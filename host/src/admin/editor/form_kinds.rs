//! The specifics of the form for each kind of object.

use super::form_fields::{FormField, fields_below};
use super::{FormKind, FormVariant, OfferedValues, SettingsForm};
use crate::access::scope::{READ_ONLY, SCOPES};
use crate::admin::call::{PageCall, PageProblem, PageSection};
use crate::admin::endpoints::ENDPOINTS;
use crate::admin::endpoints::health::{HealthReport, tell_waiting};
use crate::admin::flows::FLOWS;
use crate::admin::sources::SOURCES;
use crate::admin::texts::tell_number;
use crate::admin::tokens::{TOKENS, token_address};
use crate::admin::{endpoint_address, flow_address, source_address};
use crate::api::endpoints::EndpointResource;
use crate::api::flows::FlowResource;
use crate::api::modules::list_modules;
use crate::api::sources::SourceResource;
use crate::api::tokens::TokenResource;
use crate::channels::find_channel;
use crate::channels::settings_check::uses_field;
use crate::model::endpoint::WEBHOOK;
use crate::model::envelope::EnvelopeForm;
use crate::model::signature_scheme::SignatureScheme;
use crate::settings::SettingsSnapshot;
use axum::Json;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Returns the settings with all defaults filled in.
fn filled_settings<R: SettingsForm>(least: Value) -> Value {
    let read: Result<R::Settings, _> = serde_json::from_value(least.clone());
    read.and_then(serde_json::to_value).unwrap_or(least)
}

fn endpoint_names(settings: &SettingsSnapshot) -> Vec<String> {
    let mut names: Vec<String> =
        settings.endpoints().map(|target| target.endpoint.settings.name.clone()).collect();
    names.sort();
    names
}

fn source_names(settings: &SettingsSnapshot) -> Vec<String> {
    let mut names: Vec<String> =
        settings.sources().map(|source| source.settings.name.clone()).collect();
    names.sort();
    names
}

/// The kinds of endpoints, each with its label and a description.
const ENDPOINT_KINDS: [FormVariant; 15] = [
    ("webhook", "Webhook", "Signed HTTP requests to an address of any system."),
    (
        "api",
        "REST API",
        "Calls of named operations of another system's API; the answer becomes an event.",
    ),
    ("slack", "Slack", "Messages to a channel of Slack, Mattermost and the like."),
    ("teams", "Microsoft Teams", "Cards in a channel of Teams."),
    ("discord", "Discord", "Messages to a channel of Discord."),
    ("email", "E-mail", "Messages by a mail server (SMTP)."),
    ("amqp", "RabbitMQ (AMQP)", "Messages to an exchange or a queue."),
    ("file", "Files", "Lines of JSON or CSV in a folder of the server."),
    ("kafka", "Apache Kafka", "Records in a topic of Kafka or a compatible broker."),
    ("module", "Module", "Requests that a module of yours with the role channel describes."),
    ("mqtt", "MQTT", "Messages to topics of a broker."),
    ("nats", "NATS JetStream", "Messages to subjects of a stream."),
    ("pull", "Pull", "Deliveries that consumers fetch and commit, such as behind a firewall."),
    (
        "s3",
        "S3 bucket",
        "Objects of JSON or CSV lines in a bucket of Amazon S3 or a compatible service.",
    ),
    ("sql", "SQL database", "Rows of a table in PostgreSQL, MySQL or MariaDB."),
];

/// Returns the kind in the settings of an endpoint.
fn endpoint_kind(settings: &Value) -> &str {
    settings.get("kind").and_then(Value::as_str).unwrap_or(WEBHOOK)
}

impl SettingsForm for EndpointResource {
    const FORM: FormKind = FormKind {
        section: PageSection::Endpoints,
        list_title: "Endpoints",
        list: ENDPOINTS,
        rest: "/api/v1/endpoints",
        rest_one: "/api/v1/endpoints/{id}",
        noun: "endpoint",
        secret_hint: Some(
            "whsec_ and 24 to 64 bytes in base64, or 16 to 256 characters. If left empty, a new \
             endpoint gets a random secret, and an existing endpoint keeps its own.",
        ),
        secret_used_by: Some("signing"),
        sections: &[
            (
                "Where it goes",
                "The receiver, and the events that it gets.",
                &["name", "url", "settings", "events", "where", "secret", "enabled"],
            ),
            (
                "What is sent",
                "The time and the form of each delivery.",
                &[
                    "mode",
                    "envelope",
                    "field_map",
                    "method",
                    "path",
                    "query",
                    "headers",
                    "body",
                    "signing",
                ],
            ),
            ("When it fails", "Time limits and retries.", &["timeout", "retry", "on_gone"]),
            (
                "How much at once",
                "Limits that protect the receiver from overload.",
                &["rate_limit", "max_in_flight", "smart", "ordered"],
            ),
            (
                "Access and encryption",
                "Credentials and certificates beyond the signature.",
                &["auth", "tls"],
            ),
        ],
        open_sections: 1,
        question: "Where do its events go?",
    };

    fn starting_settings(variant: Option<&str>) -> Value {
        let kind = variant.unwrap_or(WEBHOOK);
        let mut settings = filled_settings::<Self>(json!({"name": "", "url": "", "kind": kind}));
        if let Some(fields) = settings.as_object_mut() {
            // Settings leave the usual kind out.
            fields.insert("kind".to_owned(), kind.into());
        }
        settings
    }

    fn variants() -> &'static [FormVariant] {
        &ENDPOINT_KINDS
    }

    /// Leaves out the kind, which was chosen before, and what the kind does not use.
    fn has_field(field: &FormField, settings: &Value) -> bool {
        let is_used = |kind| uses_field(kind, field.top());
        field.path != "kind" && find_channel(endpoint_kind(settings)).is_none_or(is_used)
    }

    /// Draws the kind's own settings as fields.
    fn inner_fields(field: &FormField, settings: &Value) -> Option<Vec<FormField>> {
        let channel = find_channel(endpoint_kind(settings)).filter(|_| field.path == "settings")?;
        Some(fields_below("settings", &channel.settings_schema()))
    }

    fn special_hint(field: &FormField, settings: &Value) -> Option<String> {
        let channel = find_channel(endpoint_kind(settings)).filter(|_| field.path == "url")?;
        let mut hint = channel.description.url_hint.to_owned();
        if let Some(first) = hint.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Some(hint + ".")
    }

    fn address(name: &str) -> String {
        endpoint_address(name)
    }

    async fn offered_values(_call: &PageCall) -> Result<OfferedValues, PageProblem> {
        let schemes = SignatureScheme::ALL.map(|scheme| scheme.as_str().to_owned());
        let forms = EnvelopeForm::ALL.map(|form| form.as_str().to_owned());
        Ok(vec![("signing", schemes.to_vec()), ("envelope", forms.to_vec())])
    }

    async fn tell_loss(call: &PageCall, object: &Self::Object) -> Result<Vec<String>, PageProblem> {
        let settings = &object.endpoint.settings;
        let mut lost = Vec::new();
        if !settings.events.is_empty() {
            let events: Vec<String> = settings.events.iter().map(ToString::to_string).collect();
            lost.push(format!(
                "Events of the types {} are no longer sent there.",
                events.join(", ")
            ));
        }
        let report = HealthReport::load(call).await?;
        let health = report.of(object.endpoint.id);
        if health.waiting > 0 {
            lost.push(format!("{}, and will be called off.", tell_waiting(health.waiting)));
        }
        if health.dead > 0 {
            let letters = tell_number(health.dead, "dead letter", "dead letters");
            lost.push(format!(
                "{letters} of this endpoint can then only be deleted; their events can be replayed."
            ));
        }
        lost.push(
            "Its secret is deleted. A new endpoint in its place gets another secret.".to_owned(),
        );
        Ok(lost)
    }
}

impl SettingsForm for FlowResource {
    const FORM: FormKind = FormKind {
        section: PageSection::Flows,
        list_title: "Flows",
        list: FLOWS,
        rest: "/api/v1/flows",
        rest_one: "/api/v1/flows/{id}",
        noun: "flow",
        secret_hint: None,
        secret_used_by: None,
        sections: &[
            (
                "Which events",
                "The events that enter the flow.",
                &["name", "sources", "events", "where"],
            ),
            (
                "What happens to them",
                "The modules run in this order, one after the other.",
                &["modules"],
            ),
            ("Where they go", "A module can choose among these.", &["endpoints", "enabled"]),
        ],
        open_sections: usize::MAX,
        question: "",
    };

    fn starting_settings(_variant: Option<&str>) -> Value {
        filled_settings::<Self>(json!({"name": ""}))
    }

    fn address(name: &str) -> String {
        flow_address(name)
    }

    fn must_fill(field: &FormField) -> bool {
        field.path == "endpoints"
    }

    async fn offered_values(call: &PageCall) -> Result<OfferedValues, PageProblem> {
        let settings = call.settings();
        let mut offered =
            vec![("sources", source_names(&settings)), ("endpoints", endpoint_names(&settings))];
        if call.may_read("/api/v1/modules") {
            let Json(found) = list_modules(call.state(), call.principal.clone()).await?;
            let names: BTreeSet<String> = found.data.into_iter().map(|view| view.name).collect();
            offered.push(("modules.name", names.into_iter().collect()));
        }
        Ok(offered)
    }

    async fn tell_loss(
        _call: &PageCall,
        object: &Self::Object,
    ) -> Result<Vec<String>, PageProblem> {
        let flow = &object.flow.settings;
        let events: Vec<String> = flow.events.iter().map(ToString::to_string).collect();
        let from =
            if flow.sources.is_empty() { "any source".to_owned() } else { flow.sources.join(", ") };
        let mut lost = vec![format!(
            "Events of the types {} from {from} do not go to {} through it any more.",
            events.join(", "),
            flow.endpoints.join(", ")
        )];
        if !flow.modules.is_empty() {
            let names: Vec<&str> = flow.modules.iter().map(|module| module.name.as_str()).collect();
            lost.push(format!(
                "Events that wait for its modules ({}) are dropped.",
                names.join(", ")
            ));
        }
        lost.push("Deliveries that it has already planned are still sent.".to_owned());
        Ok(lost)
    }
}

/// The kinds of sources, each with its label and a description.
const SOURCE_KINDS: [FormVariant; 8] = [
    ("webhook", "Webhooks", "Another system sends webhooks here; their signatures are verified."),
    ("poll", "REST API", "Waybill asks another system's API for new data."),
    ("database", "Database", "Waybill reads a CRM's database, or tables that you name."),
    ("schedule", "Schedule", "Waybill makes an event at certain times."),
    ("nats", "NATS JetStream", "Waybill takes messages from a stream."),
    ("amqp", "RabbitMQ (AMQP)", "Waybill takes messages from a queue."),
    ("module", "Module", "A module of yours with the role puller asks an API."),
    ("http", "Your own program", "A program posts events to /api/v1/events."),
];

impl SettingsForm for SourceResource {
    const FORM: FormKind = FormKind {
        section: PageSection::Sources,
        list_title: "Sources",
        list: SOURCES,
        rest: "/api/v1/sources",
        rest_one: "/api/v1/sources/{id}",
        noun: "source",
        secret_hint: Some(
            "The secret that signs the webhooks, the token of the polled API, the password of the \
             database, or the token, password or key for the broker. If left empty, a new webhook \
             source gets a random secret if its scheme needs one, and an existing source keeps its \
             own.",
        ),
        secret_used_by: None,
        sections: &[
            (
                "The source",
                "Each event carries the name of its source.",
                &["name", "secret", "strict", "enabled"],
            ),
            ("Webhooks", "The sender, and how its signature is verified.", &["webhook"]),
            ("What is polled", "The API, its lists, and how often.", &["poll"]),
            ("What is read", "The database, its tables, and how often.", &["database"]),
            ("When", "The times, and the event to make.", &["schedule"]),
            ("The stream", "The server, the stream, and how to read its messages.", &["nats"]),
            ("The queue", "The broker, the queue, and how to read its messages.", &["amqp"]),
            ("The module", "The module, its configuration, and how often it runs.", &["module"]),
        ],
        open_sections: usize::MAX,
        question: "Where do its events come from?",
    };

    fn starting_settings(variant: Option<&str>) -> Value {
        let kind = variant.unwrap_or("http");
        let mut least = json!({"name": "", "kind": kind});
        let own = match kind {
            "webhook" => json!({"scheme": "standard"}),
            "poll" => json!({"url": "", "lists": []}),
            "database" => json!({"url": ""}),
            "schedule" => json!({"cron": ""}),
            "nats" => json!({"url": "", "stream": ""}),
            "amqp" => json!({"url": "", "queue": "", "user": ""}),
            "module" => json!({"name": ""}),
            _ => Value::Null,
        };
        if let Some(settings) = least.as_object_mut().filter(|_| !own.is_null()) {
            settings.insert(kind.to_owned(), own);
        }
        filled_settings::<Self>(least)
    }

    fn address(name: &str) -> String {
        source_address(name)
    }

    /// Shows only the part for the source's own kind. The kind itself was chosen before.
    fn has_field(field: &FormField, settings: &Value) -> bool {
        let kind = settings.get("kind").and_then(Value::as_str).unwrap_or_default();
        let is_part = SOURCE_KINDS.iter().any(|(name, _, _)| *name == field.top());
        field.path != "kind" && (!is_part || field.top() == kind)
    }

    fn must_fill(field: &FormField) -> bool {
        let required = [
            "webhook.scheme",
            "poll.url",
            "poll.lists",
            "database.url",
            "schedule.cron",
            "nats.url",
            "nats.stream",
            "amqp.url",
            "amqp.queue",
            "amqp.user",
            "module.name",
        ];
        required.contains(&field.path.as_str())
    }

    fn variants() -> &'static [FormVariant] {
        &SOURCE_KINDS
    }

    async fn offered_values(_call: &PageCall) -> Result<OfferedValues, PageProblem> {
        Ok(Vec::new())
    }

    async fn tell_loss(call: &PageCall, object: &Self::Object) -> Result<Vec<String>, PageProblem> {
        let source = &object.source.settings;
        let mut lost = Vec::new();
        if source.webhook.is_some() {
            lost.push(format!("Webhooks to /in/{} are refused.", source.name));
        }
        if source.timing().is_some() {
            lost.push(
                "It no longer runs, and the stored state of its rows or messages is deleted."
                    .to_owned(),
            );
        }
        lost.push(
            "Events that programs post under this name count as events of an unknown source."
                .to_owned(),
        );
        let settings = call.settings();
        let flows = settings.flows().iter().map(|route| &route.flow.settings);
        let named = flows.filter(|flow| flow.sources.contains(&source.name));
        let named: Vec<&str> = named.map(|flow| flow.name.as_str()).collect();
        if !named.is_empty() {
            lost.push(format!(
                "These flows name this source and stay unchanged: {}.",
                named.join(", ")
            ));
        }
        Ok(lost)
    }
}

impl SettingsForm for TokenResource {
    const FORM: FormKind = FormKind {
        section: PageSection::Tokens,
        list_title: "Tokens",
        list: TOKENS,
        rest: "/api/v1/tokens",
        rest_one: "/api/v1/tokens/{id}",
        noun: "token",
        secret_hint: None,
        secret_used_by: None,
        sections: &[
            (
                "What it may do",
                "It never gets more rights than the token that makes it.",
                &["name", "scopes"],
            ),
            (
                "What it is limited to",
                "An empty field means no limit.",
                &["tables", "sources", "from", "rate", "expires_at"],
            ),
        ],
        open_sections: usize::MAX,
        question: "",
    };

    fn starting_settings(_variant: Option<&str>) -> Value {
        json!({"name": "", "scopes": [READ_ONLY]})
    }

    fn address(name: &str) -> String {
        token_address(name)
    }

    async fn offered_values(call: &PageCall) -> Result<OfferedValues, PageProblem> {
        let scopes = [READ_ONLY].into_iter().chain(SCOPES.iter().map(|(_, name)| *name));
        let scopes = scopes.map(str::to_owned).collect();
        Ok(vec![("scopes", scopes), ("sources", source_names(&call.settings()))])
    }

    async fn tell_loss(
        _call: &PageCall,
        _object: &Self::Object,
    ) -> Result<Vec<String>, PageProblem> {
        Ok(vec!["Nobody can use the token any more, and its sessions end.".to_owned()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::CHANNELS;

    #[test]
    fn every_kind_of_endpoint_can_be_chosen_and_has_its_settings_as_fields() {
        let offered = ENDPOINT_KINDS.map(|(kind, _, _)| kind);
        let known = CHANNELS.iter().map(|channel| channel.description.kind);
        assert_eq!(offered.to_vec(), known.collect::<Vec<_>>());
        let fields = |kind: &str| {
            let settings = EndpointResource::starting_settings(Some(kind));
            let all =
                super::super::form_fields::fields_of::<crate::model::endpoint::EndpointSettings>();
            let own = all.into_iter().filter(|f| EndpointResource::has_field(f, &settings));
            let paths = own.flat_map(|field| {
                EndpointResource::inner_fields(&field, &settings).unwrap_or_else(|| vec![field])
            });
            paths.map(|field| field.path).collect::<Vec<_>>()
        };
        let [email, webhook] = ["email", "webhook"].map(fields);
        assert!(email.contains(&"settings.from".to_owned()), "{email:?}");
        assert!(!email.iter().any(|path| path == "signing" || path == "body"), "{email:?}");
        assert!(webhook.contains(&"signing".to_owned()) && !webhook.contains(&"kind".to_owned()));
    }
}
