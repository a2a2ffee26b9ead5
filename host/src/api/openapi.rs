//! The OpenAPI 3.1 description, generated from the handlers: routes and description come from one
//! list, so every served route is described.

pub mod describe;

use super::{
    AppState, alerts, apply, audit, channels, completeness, dead_letters, deliveries, dry_run,
    endpoints, event_types, events, flows, health, module_secrets, modules, nodes, oauth,
    operations, pull, receive, records, samples, sources, tokens, webhooks, write_through,
};
use crate::access::scope::{RouteNeed, SCOPES, Scope, route_need};
use axum::Router;
use http::Method;
use serde_json::Value;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, ClientCredentials, Flow, HttpAuthScheme, HttpBuilder, OAuth2, Scopes,
    SecurityScheme,
};
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, SecurityRequirement,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The guarded routes and their description. Describing the types of 150 handlers takes longer than
/// the rest of a start (0.1 of 0.2 s in a development build), so a server does it once.
#[derive(Debug)]
pub struct ApiRoutes {
    /// The routes to which webhooks are sent.
    pub receivers: Router<AppState>,
    /// Every other guarded route.
    pub called: Router<AppState>,
    /// The OpenAPI description of both.
    pub document: Value,
}

impl ApiRoutes {
    /// Describes all routes.
    pub fn describe() -> Self {
        let (called, mut described) = called().split_for_parts();
        let (receivers, others) = receivers().split_for_parts();
        described.merge(others);
        Self { receivers, called, document: finish_document(described) }
    }
}

fn receivers() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(
        receive::receive_webhook,
        receive::ask_receiver,
        receive::permit_origin
    ))
}

fn called() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(health::test_token))
        .routes(routes!(events::capture_events, events::list_events))
        .routes(routes!(events::show_event))
        .routes(routes!(events::replay_event))
        .routes(routes!(event_types::list_event_types))
        .routes(routes!(event_types::show_event_type))
        .routes(routes!(channels::list_channels))
        .routes(routes!(endpoints::list_endpoints, endpoints::create_endpoint))
        .routes(routes!(
            endpoints::show_endpoint,
            endpoints::update_endpoint,
            endpoints::replace_endpoint,
            endpoints::delete_endpoint
        ))
        .routes(routes!(endpoints::rotate_endpoint_secret))
        .routes(routes!(endpoints::test_endpoint))
        .routes(routes!(operations::list_operations))
        .routes(routes!(operations::run_operation))
        .merge(flow_routes())
        .routes(routes!(sources::list_sources, sources::create_source))
        .routes(routes!(sources::show_source, sources::update_source, sources::delete_source))
        .routes(routes!(sources::rotate_source_secret))
        .routes(routes!(sources::pause_source))
        .routes(routes!(sources::resume_source))
        .routes(routes!(sources::run::run_source))
        .routes(routes!(sources::run::test_source))
        .routes(routes!(webhooks::list_webhooks, webhooks::subscribe_events))
        .routes(routes!(webhooks::show_webhook, webhooks::unsubscribe))
        .routes(routes!(samples::sample_events))
        .merge(record_routes())
        .routes(routes!(tokens::list_tokens, tokens::create_token))
        .routes(routes!(tokens::show_token, tokens::update_token, tokens::revoke_token))
        .routes(routes!(audit::list_calls))
        .routes(routes!(audit::export_calls))
        .routes(routes!(nodes::list_nodes))
        .merge(alert_routes())
        .routes(routes!(oauth::get_access_token))
        .routes(routes!(oauth::revoke_access_token))
        .merge(module_routes())
        .routes(routes!(deliveries::list_deliveries))
        .routes(routes!(deliveries::show_delivery))
        .routes(routes!(deliveries::replay_delivery))
        .routes(routes!(deliveries::cancel_deliveries))
        .routes(routes!(deliveries::cancel_delivery))
        .routes(routes!(pull::pull_deliveries))
        .routes(routes!(pull::commit_pulled))
        .routes(routes!(dead_letters::list_dead_letters))
        .routes(routes!(dead_letters::bulk_replay::replay_dead_letters))
        .routes(routes!(dead_letters::bulk_replay::stop_replays))
        .routes(routes!(dead_letters::export_dead_letters))
        .routes(routes!(dead_letters::show_dead_letter, dead_letters::delete_dead_letter))
        .routes(routes!(dead_letters::replay_dead_letter))
        .routes(routes!(completeness::show_completeness))
        .routes(routes!(completeness::list_completeness_days))
        .routes(routes!(completeness::send_gaps))
        .routes(routes!(apply::document::export_config, apply::apply_config))
        .routes(routes!(apply::document::export_config_with_secrets))
}

fn record_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(records::list_records, write_through::create_record))
        .routes(routes!(
            records::show_record,
            write_through::replace_record,
            write_through::update_record,
            write_through::delete_record
        ))
        .routes(routes!(records::parts::list_parts, write_through::run_record_action))
        .routes(routes!(
            records::parts::show_part,
            records::parts::replace_part,
            records::parts::delete_part
        ))
        .routes(routes!(records::erase::erase_record))
}

fn module_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(modules::list_modules))
        .routes(routes!(modules::show_module, modules::upload_module))
        .routes(routes!(modules::activation::show_version))
        .routes(routes!(modules::activation::activate_module))
        .routes(routes!(modules::activation::approve_module))
        .routes(routes!(modules::download_module))
        .routes(routes!(modules::run_module))
        .routes(routes!(modules::cases::test_module))
        .routes(routes!(modules::logs::list_module_logs))
        .routes(routes!(modules::trial::shadow_module))
        .routes(routes!(modules::trial::canary_module))
        .routes(routes!(modules::trial::promote_module))
        .routes(routes!(modules::trial::roll_back_module))
        .routes(routes!(modules::trial::show_trial))
        .routes(routes!(module_secrets::list_secrets, module_secrets::create_secret))
        .routes(routes!(
            module_secrets::show_secret,
            module_secrets::update_secret,
            module_secrets::delete_secret
        ))
        .routes(routes!(module_secrets::rotate_secret))
}

fn alert_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(alerts::list_alerts))
        .routes(routes!(alerts::list_rules))
        .routes(routes!(alerts::show_alert))
        .routes(routes!(alerts::acknowledge_alert))
        .routes(routes!(alerts::silence_alert))
}

fn flow_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(flows::list_flows, flows::create_flow))
        .routes(routes!(
            flows::show_flow,
            flows::update_flow,
            flows::replace_flow,
            flows::delete_flow
        ))
        .routes(routes!(dry_run::run_flow))
}

/// Adds the title and the ways to authenticate, which the handlers do not contain.
fn finish_document(mut document: OpenApi) -> Value {
    document.info = InfoBuilder::new()
        .title("Waybill")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Events in, signed deliveries out. Times are RFC 3339 UTC with milliseconds; problems are \
             RFC 9457 documents; lists page by cursor.",
        ))
        .build();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let key = ApiKey::Header(ApiKeyValue::new("X-API-KEY"));
    let scopes = SCOPES.map(|(_, name)| (name, format!("Permits calls that need `{name}`.")));
    let scopes = scopes.iter().map(|(name, allows)| (*name, allows.as_str()));
    let flow = ClientCredentials::new("/oauth/token", scopes.collect::<Scopes>());
    let oauth = OAuth2::new([Flow::ClientCredentials(flow)]);
    let client = HttpBuilder::new().scheme(HttpAuthScheme::Basic).build();
    let signature = ApiKey::Header(ApiKeyValue::with_description(
        "webhook-signature",
        "The signature of the source's scheme, in the scheme's own header.",
    ));
    let components = document.components.take().unwrap_or_default();
    let components = ComponentsBuilder::from(components)
        .security_scheme("bearer", SecurityScheme::Http(bearer))
        .security_scheme("api_key", SecurityScheme::ApiKey(key))
        .security_scheme("oauth2", SecurityScheme::OAuth2(oauth))
        .security_scheme("client", SecurityScheme::Http(client))
        .security_scheme("signature", SecurityScheme::ApiKey(signature))
        .build();
    let mut document = OpenApiBuilder::from(document).components(Some(components)).build();
    for (path, item) in &mut document.paths.paths {
        secure(path, item);
    }
    describe::describe_document(serde_json::to_value(document).unwrap_or_default())
}

/// Adds to each operation the scope that its token must have (OpenAPI 3.1, "Security Requirement
/// Object": roles beside OAuth 2.0 scopes).
fn secure(path: &str, item: &mut PathItem) {
    let operations = [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
        (Method::OPTIONS, &mut item.options),
    ];
    for (method, operation) in operations {
        let (Some(operation), Some(need)) = (operation, route_need(&method, path)) else {
            continue;
        };
        let scopes: Vec<&str> = need.scope().map(Scope::name).into_iter().collect();
        let ways: &[&str] = match need {
            RouteNeed::Client => &["client"],
            RouteNeed::Signature => &["signature"],
            RouteNeed::Token | RouteNeed::Scope(_) | RouteNeed::AllTables(_) => {
                &["bearer", "api_key", "oauth2"]
            }
        };
        let ways = ways.iter().map(|way| SecurityRequirement::new(*way, scopes.clone()));
        operation.security = Some(ways.collect());
    }
}

/// Returns the whole description.
pub fn document() -> Value {
    ApiRoutes::describe().document
}
