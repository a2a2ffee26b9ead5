//! The OpenAPI 3.1 description, made from the handlers themselves: a route that is served is
//! described, because both come from one list.

pub mod describe;

use super::{
    App, apply, audit, dead_letters, deliveries, endpoints, event_types, events, flows, health,
    modules, oauth, receive, records, samples, sources, tokens, webhooks,
};
use crate::access::scope::{Need, SCOPES, Scope, need};
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

/// Every route that is guarded.
fn routes() -> OpenApiRouter<App> {
    called().merge(receivers())
}

/// Where webhooks are sent to.
pub fn receivers() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(receive::receive, receive::ask, receive::permit))
}

/// Every other route that is guarded.
pub fn called() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(health::auth_test))
        .routes(routes!(events::capture, events::list))
        .routes(routes!(events::show))
        .routes(routes!(events::replay))
        .routes(routes!(event_types::list))
        .routes(routes!(event_types::show))
        .routes(routes!(endpoints::list, endpoints::create))
        .routes(routes!(endpoints::show, endpoints::update, endpoints::replace, endpoints::delete))
        .routes(routes!(endpoints::rotate))
        .routes(routes!(endpoints::test))
        .routes(routes!(flows::list, flows::create))
        .routes(routes!(flows::show, flows::update, flows::replace, flows::delete))
        .routes(routes!(sources::list, sources::create))
        .routes(routes!(sources::show, sources::update, sources::delete))
        .routes(routes!(sources::rotate))
        .routes(routes!(sources::pause))
        .routes(routes!(sources::resume))
        .routes(routes!(sources::run::run))
        .routes(routes!(sources::run::test))
        .routes(routes!(webhooks::list, webhooks::subscribe))
        .routes(routes!(webhooks::show, webhooks::unsubscribe))
        .routes(routes!(samples::samples))
        .routes(routes!(records::list))
        .routes(routes!(records::show))
        .routes(routes!(records::erase::erase))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::show, tokens::update, tokens::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(audit::export))
        .routes(routes!(oauth::token))
        .routes(routes!(oauth::revoke))
        .routes(routes!(modules::list))
        .routes(routes!(modules::show, modules::upload))
        .routes(routes!(modules::activate))
        .routes(routes!(modules::component))
        .routes(routes!(modules::run))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::show))
        .routes(routes!(deliveries::replay))
        .routes(routes!(deliveries::cancel_all))
        .routes(routes!(deliveries::cancel))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::replay_all))
        .routes(routes!(dead_letters::export))
        .routes(routes!(dead_letters::show, dead_letters::delete))
        .routes(routes!(dead_letters::replay))
        .routes(routes!(apply::document::export, apply::apply))
        .routes(routes!(apply::document::export_with_secrets))
}

/// Adds what the handlers do not say: title and ways to authenticate.
fn finish(mut document: OpenApi) -> Value {
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
    let scopes = SCOPES.map(|(_, name)| (name, format!("What `{name}` allows.")));
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
    describe::describe(serde_json::to_value(document).unwrap_or_default())
}

/// Says of each operation which scope its token must have (OpenAPI 3.1, "Security Requirement
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
        let (Some(operation), Some(need)) = (operation, need(&method, path)) else { continue };
        let scopes: Vec<&str> = need.scope().map(Scope::name).into_iter().collect();
        let ways: &[&str] = match need {
            Need::Client => &["client"],
            Need::Signature => &["signature"],
            Need::Token | Need::Scope(_) | Need::AllTables(_) => &["bearer", "api_key", "oauth2"],
        };
        let ways = ways.iter().map(|way| SecurityRequirement::new(*way, scopes.clone()));
        operation.security = Some(ways.collect());
    }
}

/// The whole description.
pub fn document() -> Value {
    finish(routes().split_for_parts().1)
}
