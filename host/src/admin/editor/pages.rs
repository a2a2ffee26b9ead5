//! The pages with the forms that create and change objects.

use super::conflict::{draw_changes, merge_changes};
use super::draw_form::{FormState, MORE, SECRET, TAG, WAS, draw_form};
use super::form_fields::{FieldShape, FormField, fields_of};
use super::form_values::FormValues;
use super::secret_page::secret_content;
use super::{OfferedValues, SettingsForm};
use crate::admin::call::{ActionResult, PageCall, PageContent, PageProblem, PageResult};
use crate::admin::forms::FormFields;
use crate::api::body::QueryInput;
use crate::api::problem::ApiProblem;
use crate::api::resource::entity_tag::{EntityTag, IfMatch};
use crate::api::resource::{self, ObjectEdit};
use axum::extract::Path;
use axum::response::IntoResponse as _;
use http::{Method, StatusCode};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Most values that are offered as boxes. If there are more, names are typed.
const MOST_BOXES: usize = 60;
/// The field with the chosen kind.
const KIND: &str = "kind";

/// The parameters in the address of a form for a new object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NewPage {
    kind: Option<String>,
}

/// Draws the button that leads to the form for a new object, if the token may send that form.
pub fn draw_new_button<R: SettingsForm>(call: &PageCall) -> Markup {
    html! {
        @if call.may_post(R::FORM.rest) {
            a class="btn main" href={ (R::FORM.list) "/new" } { "New " (R::FORM.noun) }
        }
    }
}

/// Draws the button that leads to the form for changes, if the token may send that form.
pub fn draw_edit_button<R: SettingsForm>(call: &PageCall, name: &str, class: &str) -> Markup {
    html! {
        @if call.principal.may_call(&Method::PATCH, R::FORM.rest_one) {
            a class={ "btn " (class) } href={ (R::address(name)) "/edit" } { "Edit" }
        }
    }
}

/// Returns the fields of the form for these settings.
fn form_fields<R: SettingsForm>(settings: &Value, offered: &OfferedValues) -> Vec<FormField> {
    let mut fields = fields_of::<R::Settings>();
    fields.retain(|field| R::has_field(field, settings));
    let inner = |field: FormField| R::inner_fields(&field, settings).unwrap_or_else(|| vec![field]);
    let mut fields: Vec<FormField> = fields.into_iter().flat_map(inner).collect();
    for field in &mut fields {
        field.is_required |= R::must_fill(field);
        if let Some(hint) = R::special_hint(field, settings) {
            field.hint = hint;
            field.example = None;
        }
        for (path, values) in offered.iter().filter(|(_, values)| values.len() <= MOST_BOXES) {
            if field.path == *path {
                field.offer(values);
            }
            if let FieldShape::Rows(columns) = &mut field.shape {
                let column =
                    path.strip_prefix(field.path.as_str()).and_then(|p| p.strip_prefix('.'));
                if let Some(column) =
                    columns.iter_mut().find(|known| Some(known.path.as_str()) == column)
                {
                    column.offer(values);
                }
            }
        }
    }
    fields
}

/// Shows the form for a new object, or the kinds to choose from.
pub async fn show_new<R: SettingsForm>(
    call: PageCall,
    QueryInput(page): QueryInput<NewPage>,
) -> PageResult {
    let kind = page.kind.as_deref();
    let is_known = |kind: &str| R::variants().iter().any(|(known, _, _)| *known == kind);
    if !R::variants().is_empty() && !kind.is_some_and(is_known) {
        return Ok(draw_variants::<R>());
    }
    let settings = R::starting_settings(kind);
    let fields = form_fields::<R>(&settings, &R::offered_values(&call).await?);
    let values = FormValues::of_settings(&fields, &settings).without_empty(&fields);
    let state = FormState { fields, values, hidden: kind_field(&settings), ..FormState::default() };
    Ok(new_content::<R>(&call, &state, StatusCode::OK))
}

/// Returns the kind of a new object. No field of the form contains the kind.
fn kind_field(settings: &Value) -> Vec<(&'static str, String)> {
    let kind = settings.get(KIND).and_then(Value::as_str);
    kind.map(|kind| (KIND, kind.to_owned())).into_iter().collect()
}

fn draw_variants<R: SettingsForm>() -> PageContent {
    let kind = &R::FORM;
    let title = format!("New {}", kind.noun);
    let body = html! {
        div class="stack" {
            div class="head" { div {
                h1 { (title) }
                p class="lead s" { (kind.question) }
            } }
            section class="panel" aria-label="Kinds" {
                ul class="kinds" {
                    @for (name, label, sentence) in R::variants() {
                        li {
                            a class="name" href={ (kind.list) "/new?kind=" (name) } { (label) }
                            span class="why" { (sentence) }
                        }
                    }
                }
            }
        }
    };
    PageContent::new(kind.section, title, body).below(kind.list_title, kind.list)
}

fn new_content<R: SettingsForm>(
    call: &PageCall,
    state: &FormState,
    status: StatusCode,
) -> PageContent {
    let kind = &R::FORM;
    let title = format!("New {}", kind.noun);
    let does = format!("Create {}", kind.noun);
    let variant = state.hidden.first().map(|(_, name)| name.as_str());
    let variant = R::variants().iter().find(|(name, _, _)| Some(*name) == variant);
    let action = format!("{}/new", kind.list);
    let body = html! {
        div class="stack" {
            div class="head" { div {
                h1 { (title) }
                @if let Some((_, label, sentence)) = variant {
                    p class="lead s" {
                        b { (label) } ": " (sentence) " "
                        a href={ (kind.list) "/new" } { "Choose another kind" }
                    }
                }
            } }
            (draw_form::<R>(call, state, &action, (&does, kind.list)))
        }
    };
    let content = PageContent::new(kind.section, title, body).below(kind.list_title, kind.list);
    PageContent { status, ..content }
}

/// Creates an object. If it has a new secret, the secret is shown once.
pub async fn create<R: SettingsForm>(call: PageCall, form: FormFields) -> ActionResult {
    let settings = R::starting_settings(form.text(KIND));
    let fields = form_fields::<R>(&settings, &R::offered_values(&call).await?);
    let values = FormValues::of_form(&fields, &form);
    let hidden = kind_field(&settings);
    let mut state = FormState { fields, values, hidden, ..FormState::default() };
    if form.has(MORE) {
        state.wants_rows = true;
        return Ok(new_content::<R>(&call, &state, StatusCode::OK).into_response());
    }
    let (mut given, faults) = state.values.read(&state.fields);
    if !faults.is_empty() {
        state.faults = faults;
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Ok(new_content::<R>(&call, &state, status).into_response());
    }
    given
        .extend(state.hidden.iter().map(|(name, text)| ((*name).to_owned(), text.as_str().into())));
    add_secret::<R>(&form, &mut given);
    match resource::create::<R>(call.app(), &call.principal, given).await {
        Ok(made) => show_made::<R>(&call, made.into_view()),
        Err(problem) => {
            let status = blame_fields(&mut state, problem)?;
            Ok(new_content::<R>(&call, &state, status).into_response())
        }
    }
}

fn add_secret<R: SettingsForm>(form: &FormFields, given: &mut Map<String, Value>) {
    let secret = form.text(SECRET).filter(|_| R::FORM.secret_hint.is_some());
    given.extend(secret.map(|secret| (SECRET.to_owned(), secret.into())));
}

/// Shows the secret of a new object, or redirects to the object's page.
fn show_made<R: SettingsForm>(call: &PageCall, view: R::View) -> ActionResult {
    let shown = serde_json::to_value(view).map_err(|error| ApiProblem::unexpected(&error))?;
    let text = |name: &str| shown.get(name).and_then(Value::as_str);
    let name = text("name").unwrap_or_default();
    let address = R::address(name);
    match text(SECRET).or_else(|| text("token")) {
        Some(secret) => Ok(secret_content(&R::FORM, name, &address, secret).into_response()),
        None => Ok(call.done(&address, format!("{name} was created."))),
    }
}

/// Puts the faults of a problem at their fields. Returns problems that are not about the input.
fn blame_fields(state: &mut FormState, problem: ApiProblem) -> Result<StatusCode, PageProblem> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let is_about_input = status == StatusCode::UNPROCESSABLE_ENTITY
        || status == StatusCode::CONFLICT
        || (status == StatusCode::FORBIDDEN && !problem.errors.is_empty());
    if !is_about_input {
        return Err(problem.into());
    }
    if problem.errors.is_empty() || status == StatusCode::FORBIDDEN {
        state.problem = Some(problem.detail);
    }
    state.faults = problem.errors;
    Ok(status)
}

/// The stored state of an object, as its form shows it.
struct StoredState {
    settings: Value,
    name: String,
    tag: String,
}

impl StoredState {
    fn find<R: SettingsForm>(call: &PageCall, id: &str) -> Result<Self, ApiProblem> {
        let object = R::find(&call.settings(), id)?;
        let state = R::state(&object);
        let tag = EntityTag::of::<R>(&object)?.to_header();
        Ok(Self {
            settings: R::masked(state.settings)?,
            name: R::name(state.settings).to_owned(),
            tag: tag.to_str().unwrap_or_default().to_owned(),
        })
    }
}

/// Shows the form with the current settings.
pub async fn show_edit<R: SettingsForm>(call: PageCall, Path(id): Path<String>) -> PageResult {
    let stored = StoredState::find::<R>(&call, &id)?;
    let fields = form_fields::<R>(&stored.settings, &R::offered_values(&call).await?);
    let values = FormValues::of_settings(&fields, &stored.settings);
    let known = Some((values.clone(), stored.tag));
    let state = FormState { fields, values, known, ..FormState::default() };
    Ok(edit_content::<R>(&call, &stored.name, &state, None, StatusCode::OK))
}

fn edit_content<R: SettingsForm>(
    call: &PageCall,
    name: &str,
    state: &FormState,
    above: Option<Markup>,
    status: StatusCode,
) -> PageContent {
    let kind = &R::FORM;
    let address = R::address(name);
    let action = format!("{address}/edit");
    let body = html! {
        div class="stack" {
            div class="head" { div {
                h1 { "Change " (name) }
                p class="lead s" {
                    "*** stands for a stored value that is not shown. Leave it to keep that value."
                }
            } }
            @if let Some(above) = above { (above) }
            (draw_form::<R>(call, state, &action, ("Save", &address)))
        }
    };
    let content = PageContent::new(kind.section, "Edit", body);
    let content = content.below(kind.list_title, kind.list).below(name, &address);
    PageContent { status, ..content }
}

/// Stores the changes of the form if the object is unchanged since the form was made. Otherwise
/// shows the conflict.
pub async fn save<R: SettingsForm>(
    call: PageCall,
    Path(id): Path<String>,
    form: FormFields,
) -> ActionResult {
    let stored = StoredState::find::<R>(&call, &id)?;
    let fields = form_fields::<R>(&stored.settings, &R::offered_values(&call).await?);
    let was: FormValues =
        serde_json::from_str(form.required(WAS)?).map_err(|error| ApiProblem::malformed(&error))?;
    let tag = form.required(TAG)?.to_owned();
    let values = FormValues::of_form(&fields, &form);
    let known = Some((was, tag.clone()));
    let mut state = FormState { fields, values, known, ..FormState::default() };
    if form.has(MORE) {
        state.wants_rows = true;
        let content = edit_content::<R>(&call, &stored.name, &state, None, StatusCode::OK);
        return Ok(content.into_response());
    }
    let (mut given, faults) = state.values.read(&state.fields);
    if !faults.is_empty() {
        state.faults = faults;
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Ok(edit_content::<R>(&call, &stored.name, &state, None, status).into_response());
    }
    clear_empty_parts(&state.fields, &mut given);
    add_secret::<R>(&form, &mut given);
    let expected = IfMatch::of_tag(&tag)?;
    let change = ObjectEdit::Patch(given);
    let known = (id.as_str(), &expected);
    match resource::change::<R>(call.app(), &call.principal, known, change).await {
        Ok(changed) => show_changed::<R>(&call, changed.into_view()),
        Err(problem) if problem.status == StatusCode::PRECONDITION_FAILED.as_u16() => {
            Ok(show_conflict::<R>(&call, &id, state)?.into_response())
        }
        Err(problem) => {
            let status = blame_fields(&mut state, problem)?;
            Ok(edit_content::<R>(&call, &stored.name, &state, None, status).into_response())
        }
    }
}

/// In a patch, a part that is left out stays unchanged. A part whose fields are all empty is set
/// back to its default.
fn clear_empty_parts(fields: &[FormField], given: &mut Map<String, Value>) {
    for field in fields {
        given.entry(field.top().to_owned()).or_insert(Value::Null);
    }
}

fn show_changed<R: SettingsForm>(call: &PageCall, view: R::View) -> ActionResult {
    let shown = serde_json::to_value(view).map_err(|error| ApiProblem::unexpected(&error))?;
    let name = shown.get("name").and_then(Value::as_str).unwrap_or_default();
    Ok(call.done(&R::address(name), format!("{name} was changed.")))
}

/// Shows what another request changed, and the form on top of the new state.
fn show_conflict<R: SettingsForm>(
    call: &PageCall,
    id: &str,
    mut state: FormState,
) -> Result<PageContent, PageProblem> {
    let stored = StoredState::find::<R>(call, id)?;
    let now = FormValues::of_settings(&state.fields, &stored.settings);
    let was = state.known.take().map(|(was, _)| was).unwrap_or_default();
    let changes = merge_changes(&state.fields, &was, &mut state.values, &now);
    let notes = changes.iter().map(|change| (change.path.clone(), change.note()));
    state.notes = notes.collect();
    state.problem =
        Some(format!("Another request changed {} while this form was open.", stored.name));
    state.known = Some((now, stored.tag));
    let both = draw_changes(&changes);
    let status = StatusCode::PRECONDITION_FAILED;
    Ok(edit_content::<R>(call, &stored.name, &state, Some(both), status))
}
