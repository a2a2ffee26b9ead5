//! `/tokens`: who may call. A token is shown once, when it is made; what is stored is its digest.

use super::answer::{DataAnswer, ListAnswer, data_answer, whole_list};
use super::auth::CallPrincipal;
use super::body::{JsonInput, parse_json};
use super::problem::ApiProblem;
use super::{AppState, edit};
use crate::access::token::{
    ApiToken, StoredToken, TokenDigest, TokenSettings, generate_token, token_digest,
};
use crate::model::id::TokenId;
use crate::settings::SettingsSnapshot;
use crate::store::objects::{ObjectChange, ObjectKind};
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

impl From<&ApiToken> for TokenView {
    fn from(token: &ApiToken) -> Self {
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

fn find_token(
    topology: &SettingsSnapshot,
    text: &str,
) -> Result<(TokenDigest, Arc<ApiToken>), ApiProblem> {
    let id = text.parse::<TokenId>().ok();
    let is = |token: &ApiToken| Some(token.id) == id || token.settings.name == text;
    let found = topology.tokens().find(|(_, token)| is(token));
    found
        .map(|(digest, token)| (*digest, Arc::clone(token)))
        .ok_or_else(|| ApiProblem::missing("token", text))
}

/// Lists tokens, by name.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", operation_id = "list_tokens",
    responses((status = 200, body = ListAnswer<TokenView>)))]
pub async fn list_tokens(
    State(app): State<AppState>,
    _principal: CallPrincipal,
) -> Json<ListAnswer<TokenView>> {
    let topology = app.live.current_settings();
    let mut tokens: Vec<TokenView> =
        topology.tokens().map(|(_, token)| (&**token).into()).collect();
    tokens.sort_by(|a, b| a.settings.name.cmp(&b.settings.name));
    whole_list(tokens)
}

/// One token, by id or name.
#[utoipa::path(get, path = "/api/v1/tokens/{id}", tag = "tokens", operation_id = "show_token",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<TokenView>), (status = 404, body = ApiProblem)))]
pub async fn show_token(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<Json<DataAnswer<TokenView>>, ApiProblem> {
    Ok(data_answer((&*find_token(&app.live.current_settings(), &id)?.1).into()))
}

/// Reads and checks settings; `old` are those that the token has.
fn read_settings(
    principal: &CallPrincipal,
    object: &Map<String, Value>,
    old: Option<&TokenSettings>,
) -> Result<TokenSettings, ApiProblem> {
    let text = serde_json::to_vec(object).map_err(ApiProblem::malformed)?;
    let settings = parse_json::<TokenSettings>(&text)?.filled();
    edit::check_faults(settings.check())?;
    check_ceiling(principal, &settings, old)?;
    Ok(settings)
}

/// Refuses a token that would have more than the caller.
pub fn check_ceiling(
    principal: &CallPrincipal,
    new: &TokenSettings,
    old: Option<&TokenSettings>,
) -> Result<(), ApiProblem> {
    let exceeded = principal.ceiling().exceeded_by(new, old);
    if exceeded.is_empty() {
        return Ok(());
    }
    let detail = "a token cannot make or change another into one that has more than itself";
    Err(ApiProblem::forbidden_fields(detail, exceeded))
}

async fn save_token(
    app: &AppState,
    id: TokenId,
    digest: TokenDigest,
    settings: TokenSettings,
    (created_at, replaces): (Timestamp, Option<Timestamp>),
) -> Result<TokenView, ApiProblem> {
    let name = settings.name.clone();
    let stored = StoredToken { sha256: hex::encode(digest), settings };
    let change = edit::put_object(ObjectKind::Token, &name, id.uuid(), stored, None, created_at)?;
    edit::commit_changes(app, &[change.replacing(replaces)]).await?;
    Ok((&*find_token(&app.live.current_settings(), &id.to_string())?.1).into())
}

/// Makes a token; it is shown in this answer only.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", operation_id = "create_token", request_body = TokenSettings,
    responses((status = 201, body = DataAnswer<TokenView>), (status = 403, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn create_token(
    State(app): State<AppState>,
    principal: CallPrincipal,
    JsonInput(object): JsonInput<Map<String, Value>>,
) -> Result<(StatusCode, Json<DataAnswer<TokenView>>), ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let settings = read_settings(&principal, &object, None)?;
    let now = app.journal.clock().now();
    let token = generate_token();
    let made =
        save_token(&app, TokenId::generate(), token_digest(&token), settings, (now, None)).await?;
    Ok((StatusCode::CREATED, data_answer(TokenView { token: Some(token), ..made })))
}

/// Changes the given fields of a token; `null` goes back to the default. The token itself stays.
#[utoipa::path(patch, path = "/api/v1/tokens/{id}", tag = "tokens", operation_id = "update_token",
    params(("id" = String, Path)), request_body = Object,
    responses((status = 200, body = DataAnswer<TokenView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn update_token(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    JsonInput(patch): JsonInput<Map<String, Value>>,
) -> Result<Json<DataAnswer<TokenView>>, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let (digest, token) = find_token(&app.live.current_settings(), &id)?;
    let merged = edit::merge_patch(&token.settings, patch)?;
    let settings = read_settings(&principal, &merged, Some(&token.settings))?;
    Ok(data_answer(
        save_token(&app, token.id, digest, settings, (token.created_at, Some(token.updated_at)))
            .await?,
    ))
}

/// Revokes a token: from the answer on nobody can use it.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "tokens", operation_id = "revoke_token",
    params(("id" = String, Path)), responses((status = 204), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem)))]
pub async fn revoke_token(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let (_, token) = find_token(&app.live.current_settings(), &id)?;
    if token.id == principal.token().id {
        return Err(ApiProblem::conflict("a token cannot revoke itself; use another admin token"));
    }
    edit::commit_changes(
        &app,
        &[ObjectChange::Delete { kind: ObjectKind::Token, id: token.id.uuid() }],
    )
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
