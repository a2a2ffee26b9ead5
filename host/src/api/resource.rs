//! Common code for all objects that operators set: endpoints, flows, sources and tokens are listed,
//! shown, created, changed, deleted, exported and applied in the same way. The differences of a
//! kind are in its [`SettingsResource`].

pub mod entity_tag;

use super::AppState;
use super::answer::{DataAnswer, ListAnswer, data_answer, whole_list};
use super::apply::carry::CarriedSecrets;
use super::auth::CallPrincipal;
use super::edit::{self, KnownModules};
use super::problem::ApiProblem;
use crate::access::token::TokenDigest;
use crate::config::ChannelsSection;
use crate::model::private_values::{self, SettingsKind};
use crate::model::secrets::SigningSecrets;
use crate::settings::SettingsSnapshot;
use crate::store::objects::{ObjectChange, ObjectKind};
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::response::{IntoResponse, Response};
use entity_tag::{EntityTag, IfMatch};
use http::{StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

/// A kind of object that operators set.
pub trait SettingsResource: 'static {
    const KIND: ObjectKind;
    /// The kind of its private settings, if it has any.
    const PRIVATE: Option<SettingsKind>;
    /// The settings of the object.
    type Settings: Serialize + DeserializeOwned + Clone + Send + Sync;
    /// An object in use.
    type Object: Clone + Send + Sync;
    /// An object in an answer.
    type View: Serialize + Send;

    /// Whether the answer to a creation shows the secret even if the request gave it.
    const SHOWS_GIVEN_SECRET: bool = false;

    fn generate_id() -> Uuid;

    /// Parses an id of this kind.
    fn parse_id(text: &str) -> Option<Uuid>;

    /// Returns all objects, in any order.
    fn list_objects(snapshot: &SettingsSnapshot) -> Vec<Self::Object>;

    fn state(object: &Self::Object) -> ObjectState<'_, Self::Settings>;

    fn name(settings: &Self::Settings) -> &str;

    /// Reads and checks the wanted settings. Values that `given` masks or leaves out come from
    /// `old`, or from the secrets that the request carries.
    fn draft(
        context: &DraftContext<'_>,
        given: Map<String, Value>,
        old: Option<&Self::Object>,
    ) -> Result<ObjectDraft<Self::Settings>, ApiProblem>;

    /// Returns the views of objects, in the given order.
    fn show(
        app: &AppState,
        principal: &CallPrincipal,
        objects: Vec<Self::Object>,
    ) -> impl Future<Output = Result<Vec<Self::View>, ApiProblem>> + Send;

    /// Adds a secret that is shown once.
    fn add_secret(view: &mut Self::View, secret: String);

    /// Fails if others need the object that is to be deleted.
    fn check_delete(
        _snapshot: &SettingsSnapshot,
        _principal: &CallPrincipal,
        _object: &Self::Object,
    ) -> Result<(), ApiProblem> {
        Ok(())
    }

    /// Returns whether a document that does not name the object deletes it.
    fn may_prune(_principal: &CallPrincipal, _object: &Self::Object) -> bool {
        true
    }

    fn is_exported(_settings: &Self::Settings) -> bool {
        true
    }

    /// Builds the change that stores a draft under an id.
    fn put(
        app: &AppState,
        id: Uuid,
        draft: &ObjectDraft<Self::Settings>,
        created_at: Timestamp,
    ) -> Result<ObjectChange, ApiProblem> {
        let secrets = match &draft.secret {
            DraftSecret::Signing(secrets) => Some(secrets),
            DraftSecret::None | DraftSecret::Token(_) => None,
        };
        let name = Self::name(&draft.settings);
        edit::put_settings(app, Self::KIND, name, id, &draft.settings, secrets, created_at)
    }

    /// Returns the settings without private values, for an export or as the base of a patch.
    fn masked(settings: &Self::Settings) -> Result<Value, ApiProblem> {
        let masked = match Self::PRIVATE {
            Some(kind) => private_values::mask_values(kind, settings),
            None => serde_json::to_value(settings),
        };
        masked.map_err(|error| ApiProblem::unexpected(&error))
    }

    fn find(snapshot: &SettingsSnapshot, id_or_name: &str) -> Result<Self::Object, ApiProblem> {
        let id = Self::parse_id(id_or_name);
        let is_asked = |object: &Self::Object| {
            let state = Self::state(object);
            Some(state.id) == id || Self::name(state.settings) == id_or_name
        };
        let found = Self::list_objects(snapshot).into_iter().find(is_asked);
        found.ok_or_else(|| ApiProblem::missing(Self::KIND.as_str(), id_or_name))
    }

    fn find_named(snapshot: &SettingsSnapshot, name: &str) -> Option<Self::Object> {
        let objects = Self::list_objects(snapshot);
        objects.into_iter().find(|object| Self::name(Self::state(object).settings) == name)
    }

    /// Returns all objects, by name.
    fn list_by_name(snapshot: &SettingsSnapshot) -> Vec<Self::Object> {
        let name = |object: &Self::Object| Self::name(Self::state(object).settings).to_owned();
        let mut objects = Self::list_objects(snapshot);
        objects.sort_by_cached_key(name);
        objects
    }
}

/// An object as it is stored.
pub struct ObjectState<'a, S> {
    pub id: Uuid,
    pub settings: &'a S,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// The wanted state of an object.
pub struct ObjectDraft<S> {
    pub settings: S,
    pub secret: DraftSecret,
    /// The secret or token that was made for it, to be shown once.
    pub made: Option<String>,
    /// Whether its secret differs from the previous one.
    pub has_other_secret: bool,
}

/// The secret part of an object.
pub enum DraftSecret {
    None,
    Signing(SigningSecrets),
    Token(TokenDigest),
}

impl<S> ObjectDraft<S> {
    /// Creates a draft with these secrets, besides those that the object had. `made` is set if the
    /// present one was made here.
    pub fn with_secrets(
        settings: S,
        secrets: Option<SigningSecrets>,
        before: Option<&SigningSecrets>,
        made: bool,
    ) -> Self {
        let current = secrets.as_ref().map(|secrets| &secrets.current);
        Self {
            settings,
            made: current.filter(|_| made).cloned(),
            has_other_secret: current != before.map(|before| &before.current),
            secret: secrets.map_or(DraftSecret::None, DraftSecret::Signing),
        }
    }
}

/// The context in which a draft is read.
pub struct DraftContext<'a> {
    pub principal: &'a CallPrincipal,
    pub snapshot: &'a SettingsSnapshot,
    /// The modules after the change.
    pub modules: &'a KnownModules,
    /// Returns whether an endpoint with this name exists after the change.
    pub has_endpoint: &'a (dyn Fn(&str) -> bool + Sync),
    /// Secrets that the request carries.
    pub carried: &'a CarriedSecrets,
    /// Settings for endpoints of kinds other than `webhook`.
    pub channels: &'a ChannelsSection,
}

/// One object, with the entity tag of its state.
pub struct ObjectAnswer<V> {
    status: StatusCode,
    tag: EntityTag,
    body: Json<DataAnswer<V>>,
}

impl<V> ObjectAnswer<V> {
    /// Returns the view of the object.
    pub fn into_view(self) -> V {
        self.body.0.data
    }
}

impl<V: Serialize> IntoResponse for ObjectAnswer<V> {
    fn into_response(self) -> Response {
        (self.status, [(header::ETAG, self.tag.to_header())], self.body).into_response()
    }
}

/// A change of an object.
pub enum ObjectEdit {
    /// Omitted fields get their defaults.
    Replace(Map<String, Value>),
    /// Omitted fields stay; `null` restores the default.
    Patch(Map<String, Value>),
}

pub async fn list<R: SettingsResource>(
    app: &AppState,
    principal: &CallPrincipal,
) -> Result<Json<ListAnswer<R::View>>, ApiProblem> {
    let objects = R::list_by_name(&app.live.current_settings());
    Ok(whole_list(R::show(app, principal, objects).await?))
}

pub async fn show<R: SettingsResource>(
    app: &AppState,
    principal: &CallPrincipal,
    id: &str,
) -> Result<ObjectAnswer<R::View>, ApiProblem> {
    let object = R::find(&app.live.current_settings(), id)?;
    answer_with::<R>(app, principal, object, StatusCode::OK, None).await
}

/// Answers with the present object, and with the secret that was made for it.
pub async fn answer_with<R: SettingsResource>(
    app: &AppState,
    principal: &CallPrincipal,
    object: R::Object,
    status: StatusCode,
    secret: Option<String>,
) -> Result<ObjectAnswer<R::View>, ApiProblem> {
    let tag = EntityTag::of::<R>(&object)?;
    let shown = R::show(app, principal, vec![object]).await?.pop();
    let mut view = shown.ok_or_else(ApiProblem::internal)?;
    if let Some(secret) = secret {
        R::add_secret(&mut view, secret);
    }
    Ok(ObjectAnswer { status, tag, body: data_answer(view) })
}

pub async fn create<R: SettingsResource>(
    app: &AppState,
    principal: &CallPrincipal,
    given: Map<String, Value>,
) -> Result<ObjectAnswer<R::View>, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let secret = given.get("secret").and_then(Value::as_str).map(str::to_owned);
    let draft = draft_one::<R>(app, principal, given, None).await?;
    let object = store::<R>(app, &draft, None).await?;
    let shown = draft.made.or(secret.filter(|_| R::SHOWS_GIVEN_SECRET));
    answer_with::<R>(app, principal, object, StatusCode::CREATED, shown).await
}

/// Changes an object if it is still in the state that the caller knows.
pub async fn change<R: SettingsResource>(
    app: &AppState,
    principal: &CallPrincipal,
    (id, expected): (&str, &IfMatch),
    how: ObjectEdit,
) -> Result<ObjectAnswer<R::View>, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let old = R::find(&app.live.current_settings(), id)?;
    expected.check::<R>(&old)?;
    let given = match how {
        ObjectEdit::Replace(given) => given,
        // The patch is applied over masks, so that stored and given values can be distinguished.
        ObjectEdit::Patch(patch) => edit::merge_patch(R::masked(R::state(&old).settings)?, patch)?,
    };
    let draft = draft_one::<R>(app, principal, given, Some(&old)).await?;
    let object = store::<R>(app, &draft, Some(&old)).await?;
    answer_with::<R>(app, principal, object, StatusCode::OK, draft.made).await
}

pub async fn delete<R: SettingsResource>(
    app: &AppState,
    principal: &CallPrincipal,
    (id, expected): (&str, &IfMatch),
) -> Result<StatusCode, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let snapshot = app.live.current_settings();
    let object = R::find(&snapshot, id)?;
    expected.check::<R>(&object)?;
    R::check_delete(&snapshot, principal, &object)?;
    let change = ObjectChange::Delete { kind: R::KIND, id: R::state(&object).id };
    edit::commit_changes(app, &[change]).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn draft_one<R: SettingsResource>(
    app: &AppState,
    principal: &CallPrincipal,
    given: Map<String, Value>,
    old: Option<&R::Object>,
) -> Result<ObjectDraft<R::Settings>, ApiProblem> {
    let snapshot = app.live.current_settings();
    let modules = KnownModules::new(&app.journal.list_modules().await?);
    let context = DraftContext {
        principal,
        snapshot: &snapshot,
        modules: &modules,
        has_endpoint: &|name| snapshot.endpoint_named(name).is_some(),
        carried: &CarriedSecrets::default(),
        channels: &app.config.channels,
    };
    R::draft(&context, given, old)
}

/// Stores a draft in place of `old`, or as a new object, and returns the resulting object.
pub async fn store<R: SettingsResource>(
    app: &AppState,
    draft: &ObjectDraft<R::Settings>,
    old: Option<&R::Object>,
) -> Result<R::Object, ApiProblem> {
    let change = put_over::<R>(app, draft, old)?;
    edit::commit_changes(app, &[change]).await?;
    R::find_named(&app.live.current_settings(), R::name(&draft.settings))
        .ok_or_else(|| ApiProblem::missing(R::KIND.as_str(), R::name(&draft.settings)))
}

/// Builds the change that stores a draft in place of `old`, or as a new object. It fails if the
/// object has another state by then.
pub fn put_over<R: SettingsResource>(
    app: &AppState,
    draft: &ObjectDraft<R::Settings>,
    old: Option<&R::Object>,
) -> Result<ObjectChange, ApiProblem> {
    let Some(old) = old.map(R::state) else {
        return R::put(app, R::generate_id(), draft, app.journal.clock().now());
    };
    let change = R::put(app, old.id, draft, old.created_at)?;
    Ok(change.replacing(Some(old.updated_at)))
}
