//! `/tokens`: access to the API. A token is shown once, when it is made. Only its digest is stored.

use super::answer::{DataAnswer, ListAnswer};
use super::auth::{ADMIN, CallPrincipal};
use super::body::{JsonInput, parse_json};
use super::problem::ApiProblem;
use super::resource::entity_tag::{IfMatch, IfMatchHeader};
use super::resource::{
    self, DraftContext, DraftSecret, ObjectAnswer, ObjectDraft, ObjectEdit, ObjectState,
    SettingsResource,
};
use super::{AppState, edit};
use crate::access::token::{
    ApiToken, StoredToken, TokenDigest, TokenSettings, generate_token, token_digest,
};
use crate::model::id::TokenId;
use crate::model::private_values::SettingsKind;
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
use uuid::Uuid;

/// A token, without its value.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenView {
    /// Id of the token.
    #[schema(value_type = String)]
    id: TokenId,
    #[serde(flatten)]
    settings: TokenSettings,
    /// The token itself. Only in the answer to its creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// Time of the last use.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    /// Creation time.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Time of the last change.
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

/// The kind of object for tokens.
pub struct TokenResource;

impl SettingsResource for TokenResource {
    const KIND: ObjectKind = ObjectKind::Token;
    const PRIVATE: Option<SettingsKind> = None;
    type Settings = TokenSettings;
    type Object = (TokenDigest, Arc<ApiToken>);
    type View = TokenView;

    fn generate_id() -> Uuid {
        TokenId::generate().uuid()
    }

    fn parse_id(text: &str) -> Option<Uuid> {
        text.parse::<TokenId>().ok().map(TokenId::uuid)
    }

    fn list_objects(snapshot: &SettingsSnapshot) -> Vec<Self::Object> {
        snapshot.tokens().map(|(digest, token)| (*digest, Arc::clone(token))).collect()
    }

    fn state((_, token): &Self::Object) -> ObjectState<'_, TokenSettings> {
        ObjectState {
            id: token.id.uuid(),
            settings: &token.settings,
            created_at: token.created_at,
            updated_at: token.updated_at,
        }
    }

    fn name(settings: &TokenSettings) -> &str {
        &settings.name
    }

    /// Keeps the token itself. For a new object, makes a token or takes the one that the request
    /// carries.
    fn draft(
        context: &DraftContext<'_>,
        given: Map<String, Value>,
        old: Option<&Self::Object>,
    ) -> Result<ObjectDraft<TokenSettings>, ApiProblem> {
        let text = serde_json::to_vec(&given).map_err(ApiProblem::malformed)?;
        let settings = parse_json::<TokenSettings>(&text)?.filled();
        edit::check_faults(settings.check())?;
        check_ceiling(context.principal, &settings, old.map(|(_, token)| &token.settings))?;
        let carried = context.carried.find_token(&settings.name);
        let (digest, made) = match (old, carried) {
            (Some((digest, _)), _) => (*digest, None),
            (None, Some(digest)) if context.snapshot.find_token(&digest).is_some() => {
                let message = "this token already exists under another name";
                return Err(ApiProblem::fault("name", message));
            }
            (None, Some(digest)) => (digest, None),
            (None, None) => {
                let token = generate_token();
                (token_digest(&token), Some(token))
            }
        };
        let secret = DraftSecret::Token(digest);
        Ok(ObjectDraft { settings, secret, made, has_other_secret: false })
    }

    async fn show(
        _app: &AppState,
        _principal: &CallPrincipal,
        objects: Vec<Self::Object>,
    ) -> Result<Vec<TokenView>, ApiProblem> {
        Ok(objects.iter().map(|(_, token)| TokenView::from(&**token)).collect())
    }

    fn add_secret(view: &mut TokenView, secret: String) {
        view.token = Some(secret);
    }

    fn check_delete(
        _snapshot: &SettingsSnapshot,
        principal: &CallPrincipal,
        (_, token): &Self::Object,
    ) -> Result<(), ApiProblem> {
        if token.id == principal.token().id {
            let detail = "a token cannot revoke itself; use another admin token";
            return Err(ApiProblem::conflict(detail));
        }
        Ok(())
    }

    /// Excludes the admin token and the caller's own, so that nobody is locked out.
    fn may_prune(principal: &CallPrincipal, (_, token): &Self::Object) -> bool {
        token.settings.name != ADMIN && token.id != principal.token().id
    }

    fn is_exported(settings: &TokenSettings) -> bool {
        settings.name != ADMIN
    }

    fn put(
        _app: &AppState,
        id: Uuid,
        draft: &ObjectDraft<TokenSettings>,
        created_at: Timestamp,
    ) -> Result<ObjectChange, ApiProblem> {
        let DraftSecret::Token(digest) = &draft.secret else { return Err(ApiProblem::internal()) };
        let (name, settings) = (draft.settings.name.clone(), draft.settings.clone());
        let stored = StoredToken { sha256: hex::encode(digest), settings };
        edit::put_object(Self::KIND, &name, id, stored, None, created_at)
    }
}

/// Lists tokens, by name.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", operation_id = "list_tokens",
    responses((status = 200, body = ListAnswer<TokenView>)))]
pub async fn list_tokens(
    State(app): State<AppState>,
    principal: CallPrincipal,
) -> Result<Json<ListAnswer<TokenView>>, ApiProblem> {
    resource::list::<TokenResource>(&app, &principal).await
}

/// Returns one token, by id or name.
#[utoipa::path(get, path = "/api/v1/tokens/{id}", tag = "tokens", operation_id = "show_token",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<TokenView>), (status = 404, body = ApiProblem)))]
pub async fn show_token(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<ObjectAnswer<TokenView>, ApiProblem> {
    resource::show::<TokenResource>(&app, &principal, &id).await
}

/// Fails if a token would have more rights than the caller.
fn check_ceiling(
    principal: &CallPrincipal,
    new: &TokenSettings,
    old: Option<&TokenSettings>,
) -> Result<(), ApiProblem> {
    let exceeded = principal.ceiling().exceeded_by(new, old);
    if exceeded.is_empty() {
        return Ok(());
    }
    let detail = "a token cannot give another token more rights than it has itself";
    Err(ApiProblem::forbidden_fields(detail, exceeded))
}

/// Creates a token. It is shown in this answer only.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", operation_id = "create_token", request_body = TokenSettings,
    responses((status = 201, body = DataAnswer<TokenView>), (status = 403, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn create_token(
    State(app): State<AppState>,
    principal: CallPrincipal,
    JsonInput(object): JsonInput<Map<String, Value>>,
) -> Result<ObjectAnswer<TokenView>, ApiProblem> {
    resource::create::<TokenResource>(&app, &principal, object).await
}

/// Changes the given fields of a token. `null` restores the default. The token itself stays.
#[utoipa::path(patch, path = "/api/v1/tokens/{id}", tag = "tokens", operation_id = "update_token",
    params(("id" = String, Path), IfMatchHeader), request_body = Object,
    responses((status = 200, body = DataAnswer<TokenView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem),
        (status = 400, body = ApiProblem), (status = 412, body = ApiProblem, description = "The object has another state; `errors` names the fields that changed.")))]
pub async fn update_token(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    expected: IfMatch,
    JsonInput(patch): JsonInput<Map<String, Value>>,
) -> Result<ObjectAnswer<TokenView>, ApiProblem> {
    let known = (id.as_str(), &expected);
    resource::change::<TokenResource>(&app, &principal, known, ObjectEdit::Patch(patch)).await
}

/// Revokes a token. After the answer nobody can use it.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "tokens", operation_id = "revoke_token",
    params(("id" = String, Path), IfMatchHeader), responses((status = 204), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem),
        (status = 400, body = ApiProblem), (status = 412, body = ApiProblem, description = "The object has another state; `errors` names the fields that changed.")))]
pub async fn revoke_token(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    expected: IfMatch,
) -> Result<StatusCode, ApiProblem> {
    resource::delete::<TokenResource>(&app, &principal, (id.as_str(), &expected)).await
}
