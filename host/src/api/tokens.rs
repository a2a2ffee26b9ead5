//! `/tokens`: who may call. A token is shown once, when it is made; what is stored is its digest.

use super::answer::{Data, List, data, whole};
use super::auth::Principal;
use super::body::{Input, parse};
use super::problem::Problem;
use super::{App, edit};
use crate::access::token::{StoredToken, Token, TokenDigest, TokenSettings, digest, generate};
use crate::model::id::TokenId;
use crate::settings::Topology;
use crate::store::objects::{Change, Kind};
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use utoipa::ToSchema;

/// A token, without what it is used by.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenView {
    /// Its id.
    #[schema(value_type = String)]
    id: TokenId,
    #[serde(flatten)]
    settings: TokenSettings,
    /// The token itself; only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// When it was last used.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<&Token> for TokenView {
    fn from(token: &Token) -> Self {
        Self {
            id: token.id,
            settings: token.settings.clone(),
            token: None,
            last_used_at: token.last_used(),
            created_at: token.created_at,
            updated_at: token.updated_at,
        }
    }
}

fn find(topology: &Topology, text: &str) -> Result<(TokenDigest, Arc<Token>), Problem> {
    let id = text.parse::<TokenId>().ok();
    let is = |token: &Token| Some(token.id) == id || token.settings.name == text;
    let found = topology.tokens().find(|(_, token)| is(token));
    found
        .map(|(digest, token)| (*digest, Arc::clone(token)))
        .ok_or_else(|| Problem::missing("token", text))
}

/// Lists tokens, by name.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", operation_id = "list_tokens",
    responses((status = 200, body = List<TokenView>)))]
pub async fn list_tokens(State(app): State<App>, _principal: Principal) -> Json<List<TokenView>> {
    let topology = app.live.current();
    let mut tokens: Vec<TokenView> =
        topology.tokens().map(|(_, token)| (&**token).into()).collect();
    tokens.sort_by(|a, b| a.settings.name.cmp(&b.settings.name));
    whole(tokens)
}

/// One token, by id or name.
#[utoipa::path(get, path = "/api/v1/tokens/{id}", tag = "tokens", operation_id = "show_token",
    params(("id" = String, Path)), responses((status = 200, body = Data<TokenView>), (status = 404, body = Problem)))]
pub async fn show_token(
    State(app): State<App>,
    _principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Data<TokenView>>, Problem> {
    Ok(data((&*find(&app.live.current(), &id)?.1).into()))
}

/// Reads and checks settings; `old` are those that the token has.
fn settings(
    principal: &Principal,
    object: &Map<String, Value>,
    old: Option<&TokenSettings>,
) -> Result<TokenSettings, Problem> {
    let text = serde_json::to_vec(object).map_err(Problem::malformed)?;
    let settings = parse::<TokenSettings>(&text)?.filled();
    edit::check(settings.check())?;
    check_ceiling(principal, &settings, old)?;
    Ok(settings)
}

/// Refuses a token that would have more than the caller.
pub fn check_ceiling(
    principal: &Principal,
    new: &TokenSettings,
    old: Option<&TokenSettings>,
) -> Result<(), Problem> {
    let exceeded = principal.ceiling().exceeded_by(new, old);
    if exceeded.is_empty() {
        return Ok(());
    }
    let detail = "a token cannot make or change another into one that has more than itself";
    Err(Problem::forbidden_fields(detail, exceeded))
}

async fn save(
    app: &App,
    id: TokenId,
    digest: TokenDigest,
    settings: TokenSettings,
    created_at: Timestamp,
) -> Result<TokenView, Problem> {
    let name = settings.name.clone();
    let stored = StoredToken { sha256: hex::encode(digest), settings };
    let change = edit::put(Kind::Token, &name, id.uuid(), stored, None, created_at)?;
    edit::commit(app, &[change]).await?;
    Ok((&*find(&app.live.current(), &id.to_string())?.1).into())
}

/// Makes a token; it is shown in this answer only.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", operation_id = "create_token", request_body = TokenSettings,
    responses((status = 201, body = Data<TokenView>), (status = 403, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn create_token(
    State(app): State<App>,
    principal: Principal,
    Input(object): Input<Map<String, Value>>,
) -> Result<(StatusCode, Json<Data<TokenView>>), Problem> {
    let settings = settings(&principal, &object, None)?;
    let now = app.journal.clock().now();
    let token = generate();
    let made = save(&app, TokenId::generate(), digest(&token), settings, now).await?;
    Ok((StatusCode::CREATED, data(TokenView { token: Some(token), ..made })))
}

/// Changes the given fields of a token; `null` goes back to the default. The token itself stays.
#[utoipa::path(patch, path = "/api/v1/tokens/{id}", tag = "tokens", operation_id = "update_token",
    params(("id" = String, Path)), request_body = Object,
    responses((status = 200, body = Data<TokenView>), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn update_token(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<String>,
    Input(patch): Input<Map<String, Value>>,
) -> Result<Json<Data<TokenView>>, Problem> {
    let (digest, token) = find(&app.live.current(), &id)?;
    let merged = edit::merge(&token.settings, patch)?;
    let settings = settings(&principal, &merged, Some(&token.settings))?;
    Ok(data(save(&app, token.id, digest, settings, token.created_at).await?))
}

/// Revokes a token: from the answer on nobody can use it.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "tokens", operation_id = "revoke_token",
    params(("id" = String, Path)), responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn revoke_token(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let (_, token) = find(&app.live.current(), &id)?;
    if token.id == principal.token().id {
        return Err(Problem::conflict("a token cannot revoke itself; use another admin token"));
    }
    edit::commit(&app, &[Change::Delete { kind: Kind::Token, id: token.id.uuid() }]).await?;
    Ok(StatusCode::NO_CONTENT)
}
