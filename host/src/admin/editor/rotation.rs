//! Gives an endpoint or a source another secret. The old one stays valid for a while.

use super::secret_page::secret_content;
use super::{FormKind, SettingsForm};
use crate::admin::call::{ActionResult, PageCall, PageContent, PageProblem, PageResult};
use crate::admin::forms::FormFields;
use crate::admin::layout::draw_form_key;
use crate::admin::signs::draw_icon;
use crate::admin::texts::draw_prose;
use crate::api::body::{JsonInput, parse_json};
use crate::api::endpoints::{EndpointResource, rotate_endpoint_secret};
use crate::api::problem::ApiProblem;
use crate::api::secret::SecretRotation;
use crate::api::sources::{SourceResource, rotate_source_secret};
use axum::extract::Path;
use axum::response::IntoResponse as _;
use http::StatusCode;
use maud::{Markup, html};
use serde::Serialize;
use serde_json::{Map, Value};

/// The default grace, which is also the longest one.
const USUAL_GRACE: &str = "24h";

/// Draws the button that leads to the form.
pub fn draw_rotate_button<R: SettingsForm>(call: &PageCall, name: &str) -> Markup {
    let route = format!("{}/rotate-secret", R::FORM.rest_one);
    html! {
        @if call.may_post(&route) {
            a class="btn" href={ (R::address(name)) "/rotate" } { "Rotate the secret" }
        }
    }
}

/// The content of the form.
struct RotationForm<'f> {
    grace: &'f str,
    problem: Option<&'f ApiProblem>,
}

/// Shows the form.
pub async fn show_page<R: SettingsForm>(call: PageCall, Path(id): Path<String>) -> PageResult {
    let object = R::find(&call.settings(), &id)?;
    let name = R::name(R::state(&object).settings).to_owned();
    let form = RotationForm { grace: USUAL_GRACE, problem: None };
    Ok(draw_page(&call, &R::FORM, (&name, &R::address(&name)), &form))
}

fn draw_page(
    call: &PageCall,
    kind: &FormKind,
    (name, address): (&str, &str),
    form: &RotationForm<'_>,
) -> PageContent {
    let body = html! {
        div class="stack" {
            div class="head" { div {
                h1 { "Rotate the secret of " (name) }
                p class="lead s" {
                    "The new secret is shown once. Both secrets are valid until the grace ends, so the other \
                     side can change over without a gap."
                }
            } }
            section class="panel" aria-label="Rotation" {
                form method="post" action={ (address) "/rotate" } class="in stack-s" {
                    (draw_form_key(call))
                    @if let Some(problem) = form.problem {
                        div class="error" id="rot-e" role="alert" {
                            (draw_icon("bad")) span { "Nothing was changed: " (draw_prose(&problem.detail)) }
                        }
                    }
                    div class="fields" {
                        div class="field" {
                            label for="grace" { "Grace" }
                            input id="grace" name="grace" value=(form.grace) autocomplete="off"
                                aria-describedby="grace-h" aria-invalid=[form.problem.map(|_| "true")];
                            p class="hint" id="grace-h" {
                                "How long the old secret stays valid: a time span such as 30m or 24h, at \
                                 most 24h. 0s ends it at once."
                            }
                        }
                        div class="field" {
                            label for="secret" { "New secret" }
                            input id="secret" name="secret" type="password"
                                autocomplete="new-password" aria-describedby="secret-h";
                            p class="hint" id="secret-h" { "If left empty, a random secret is made." }
                        }
                    }
                    div class="row" {
                        button class="btn main" type="submit" { "Rotate" }
                        a class="btn bare" href=(address) { "Cancel" }
                    }
                }
            }
        }
    };
    let content = PageContent::new(kind.section, "Rotate the secret", body);
    content.below(kind.list_title, kind.list).below(name, address)
}

fn read_rotation(form: &FormFields) -> Result<SecretRotation, ApiProblem> {
    let fields = ["grace", "secret"]
        .into_iter()
        .filter_map(|name| form.text(name).map(|text| (name.to_owned(), Value::from(text))));
    parse_json(Value::Object(fields.collect::<Map<_, _>>()).to_string().as_bytes())
}

/// Rotates the secret of an endpoint.
pub async fn rotate_endpoint(
    call: PageCall,
    Path(id): Path<String>,
    form: FormFields,
) -> ActionResult {
    let rotated = async {
        let input = JsonInput(read_rotation(&form)?);
        let (state, principal) = (call.state(), call.principal.clone());
        rotate_endpoint_secret(state, principal, Path(id.clone()), input).await
    };
    let rotated = rotated.await.map(resource_view);
    finish::<EndpointResource>(&call, &id, &form, rotated)
}

/// Rotates the secret of a source.
pub async fn rotate_source(
    call: PageCall,
    Path(id): Path<String>,
    form: FormFields,
) -> ActionResult {
    let rotated = async {
        let input = JsonInput(read_rotation(&form)?);
        let (state, principal) = (call.state(), call.principal.clone());
        rotate_source_secret(state, principal, Path(id.clone()), input).await
    };
    let rotated = rotated.await.map(resource_view);
    finish::<SourceResource>(&call, &id, &form, rotated)
}

fn resource_view<V: Serialize>(answer: crate::api::resource::ObjectAnswer<V>) -> Value {
    serde_json::to_value(answer.into_view()).unwrap_or_default()
}

/// Shows the new secret, or the form with its errors.
fn finish<R: SettingsForm>(
    call: &PageCall,
    id: &str,
    form: &FormFields,
    rotated: Result<Value, ApiProblem>,
) -> ActionResult {
    let object = R::find(&call.settings(), id)?;
    let name = R::name(R::state(&object).settings).to_owned();
    let address = R::address(&name);
    match rotated {
        Ok(shown) => {
            let secret = shown.get("secret").and_then(Value::as_str).unwrap_or_default();
            Ok(secret_content(&R::FORM, &name, &address, secret).into_response())
        }
        Err(problem) if problem.status == StatusCode::UNPROCESSABLE_ENTITY.as_u16() => {
            let grace = form.text("grace").unwrap_or_default();
            let shown = RotationForm { grace, problem: Some(&problem) };
            let content = draw_page(call, &R::FORM, (&name, &address), &shown);
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            Ok(PageContent { status, ..content }.into_response())
        }
        Err(problem) => Err(PageProblem(problem)),
    }
}
