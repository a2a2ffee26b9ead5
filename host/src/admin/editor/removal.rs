//! Deletes an object: a page says what will stop, and its form deletes.

use super::SettingsForm;
use super::draw_form::TAG;
use crate::admin::call::{ActionResult, PageCall, PageContent, PageResult};
use crate::admin::forms::FormFields;
use crate::admin::layout::draw_form_key;
use crate::api::resource::entity_tag::{EntityTag, IfMatch};
use crate::api::resource::{self};
use axum::extract::Path;
use http::Method;
use maud::{Markup, html};

/// Draws the button that leads to the page, if the token may delete.
pub fn draw_delete_button<R: SettingsForm>(call: &PageCall, name: &str) -> Markup {
    html! {
        @if call.principal.may_call(&Method::DELETE, R::FORM.rest_one) {
            a class="btn risk" href={ (R::address(name)) "/delete" } { "Delete…" }
        }
    }
}

/// Shows what will stop.
pub async fn show_page<R: SettingsForm>(call: PageCall, Path(id): Path<String>) -> PageResult {
    let settings = call.settings();
    let object = R::find(&settings, &id)?;
    let name = R::name(R::state(&object).settings).to_owned();
    let address = R::address(&name);
    let tag = EntityTag::of::<R>(&object)?.to_header();
    let obstacle = R::check_delete(&settings, &call.principal, &object).err();
    let lost = R::tell_loss(&call, &object).await?;
    let body = html! {
        div class="stack" {
            div class="head" { div {
                h1 { "Delete " (R::FORM.noun) " " (name) "?" }
                p class="lead s" { "This cannot be undone." }
            } }
            @if let Some(obstacle) = &obstacle {
                p class="note bad" { "It cannot be deleted yet: " (obstacle.detail) "." }
            }
            section class="panel" aria-labelledby="stops" {
                header { h2 id="stops" { "What will stop" } }
                ul class="in stack-s" { @for sentence in &lost { li { (sentence) } } }
            }
            form method="post" action={ (address) "/delete" } class="row" {
                (draw_form_key(&call))
                input type="hidden" name=(TAG) value=(tag.to_str().unwrap_or_default());
                @if obstacle.is_none() {
                    button class="btn risk" type="submit" { "Delete " (name) }
                }
                a class="btn" href=(address) { "Keep it" }
            }
        }
    };
    let content = PageContent::new(R::FORM.section, "Delete", body);
    Ok(content.below(R::FORM.list_title, R::FORM.list).below(&name, &address))
}

/// Deletes the object, if it is unchanged since the page was shown.
pub async fn delete<R: SettingsForm>(
    call: PageCall,
    Path(id): Path<String>,
    form: FormFields,
) -> ActionResult {
    let expected = IfMatch::of_tag(form.required(TAG)?)?;
    let object = R::find(&call.settings(), &id)?;
    let name = R::name(R::state(&object).settings).to_owned();
    resource::delete::<R>(call.app(), &call.principal, (&id, &expected)).await?;
    Ok(call.done(R::FORM.list, format!("{name} was deleted.")))
}
