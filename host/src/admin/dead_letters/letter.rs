//! The page of one dead letter: why it died, its content, and the possible actions.

use super::{DEAD_LETTERS, draw_place, letter_address};
use crate::admin::call::{
    ActionResult, PageCall, PageContent, PageProblem, PageResult, PageSection,
};
use crate::admin::events::answer::capitalise;
use crate::admin::events::event_address;
use crate::admin::events::steps::{is_success, tell_attempt};
use crate::admin::forms::FormFields;
use crate::admin::layout::{draw_button, draw_confirmation, draw_form_key};
use crate::admin::signs::StateSign;
use crate::admin::tables::{draw_cell, draw_row, draw_table};
use crate::admin::texts::{draw_age, draw_code, draw_id, draw_time, indent_json, short_id};
use crate::api::body::JsonInput;
use crate::api::dead_letters::{
    DeadLetterDetail, DeadLetterView, LetterReplay, delete_dead_letter, replay_dead_letter,
    show_dead_letter,
};
use crate::api::events::EventView;
use crate::api::problem::ApiProblem;
use crate::api::trace::DeliveryTrace;
use crate::model::id::DeliveryId;
use axum::Json;
use axum::extract::Path;
use axum::response::IntoResponse as _;
use http::{Method, StatusCode};
use maud::{Markup, html};
use serde_json::value::RawValue;

/// Most attempts in the table, the latest ones.
const MOST_ATTEMPTS: usize = 20;

/// Shows one dead letter.
pub async fn show_page(call: PageCall, path: Path<String>) -> PageResult {
    draw_page(&call, path, None).await
}

/// The data that a person typed, and the problem with it.
type TypedData<'t> = Option<(&'t str, &'t ApiProblem)>;

async fn draw_page(call: &PageCall, path: Path<String>, typed: TypedData<'_>) -> PageResult {
    let Json(found) = show_dead_letter(call.state(), call.principal.clone(), path).await?;
    let DeadLetterDetail { letter, event, delivery } = found.data;
    let edited = draw_editor(call, &letter, event.as_ref(), typed).await?;
    let body = html! {
        div class="stack" {
            (draw_head(call, &letter))
            div class="wide-narrow" {
                section class="panel" aria-labelledby="fa" {
                    header { h2 id="fa" { "Details" } }
                    div class="in stack-s" {
                        (draw_facts(call, &letter))
                        @if let Some(event) = &event {
                            h3 { "Data of the event" }
                            @if event.payload_pruned_at.is_some() {
                                p class="hint" { "The data was pruned." }
                            }
                            @else {
                                (draw_code("Data of the event", &indent_json(event.data.get())))
                            }
                        }
                    }
                }
                div class="stack" {
                    @if let Some(delivery) = &delivery { (draw_attempts(call, delivery)) }
                    @if let Some(edited) = edited { (edited) }
                }
            }
        }
    };
    let title = format!("Dead letter {}", short_id(&letter.id));
    Ok(PageContent::new(PageSection::DeadLetters, title, body).below("Dead letters", DEAD_LETTERS))
}

fn draw_head(call: &PageCall, letter: &DeadLetterView) -> Markup {
    let address = letter_address(&letter.id);
    let is_open = letter.replayed_at.is_none();
    let sign = if is_open { StateSign::DEAD } else { StateSign::REPLAYING };
    let may_delete = call.principal.may_call(&Method::DELETE, "/api/v1/dead-letters/{id}");
    html! {
        div class="head" {
            div {
                div class="row" { h1 { (capitalise(&letter.detail)) } (sign.draw_pill()) }
                p class="lead s" {
                    code { (letter.reason) }
                    " at " (draw_place(letter)) ", died " (draw_age(call.now, letter.created_at))
                }
            }
            div class="row" {
                @if let Some(event) = &letter.event_id {
                    a class="btn" href=(event_address(event)) { "Open the event" }
                }
                @if is_open && call.may_post("/api/v1/dead-letters/{id}/replay") {
                    (draw_button(call, &format!("{address}/replay"), "main", "Replay"))
                }
                @if may_delete {
                    (draw_confirmation(call, &format!("{address}/delete"), "Delete…", "Delete it",
                        "The dead letter is deleted for good, and nothing is sent. The event stays and \
                         can be replayed from its page."))
                }
            }
        }
    }
}

fn draw_facts(call: &PageCall, letter: &DeadLetterView) -> Markup {
    html! {
        dl class="facts" {
            dt { "Id" } dd { code { (letter.id) } }
            @if let Some(event) = &letter.event_id {
                dt { "Event" } dd { (draw_id(event, &event_address(event))) }
            }
            @if let Some(event_type) = &letter.event_type {
                dt { "Type" } dd { code { (event_type) } }
            }
            @if let Some(delivery) = &letter.delivery_id {
                dt { "Delivery" } dd { code { (delivery) } }
            }
            @if let Some(flow) = &letter.flow { dt { "Flow" } dd { (flow) } }
            @if let Some(list) = &letter.list { dt { "List" } dd { (list) } }
            @if let Some(row) = &letter.row { dt { "Row" } dd { code { (row) } } }
            dt { "Died" } dd { (draw_time(letter.created_at, &letter.created_at.to_string())) }
            @if let Some(at) = letter.replayed_at {
                dt { "Replay began" } dd { (draw_age(call.now, at)) }
            }
        }
    }
}

fn draw_attempts(call: &PageCall, delivery: &DeliveryTrace) -> Markup {
    let hidden = delivery.attempts.len().saturating_sub(MOST_ATTEMPTS);
    let event = event_address(&delivery.delivery.event_id);
    let rows = html! {
        @for attempt in delivery.attempts.iter().skip(hidden) {
            @let sign = if is_success(attempt) { StateSign::ANSWERED } else { StateSign::REFUSED };
            (draw_row(&html! {
                (draw_cell("nw", &html! { (attempt.number) }))
                (draw_cell("r nw", &draw_age(call.now, attempt.at)))
                (draw_cell("w", &html! {
                    (sign.draw_with(&tell_attempt(attempt)))
                    @if let Some(error) = &attempt.error { span class="why" { (error) } }
                }))
            }))
        }
    };
    let columns = [("Attempt", false), ("When", false), ("Result", false)];
    html! {
        section class="panel" aria-labelledby="at" {
            header { h2 id="at" { "Attempts" } a class="s" href=(event) { "Headers and answers" } }
            (draw_table("Attempts", "mid", &columns, &rows))
            @if hidden > 0 { footer { (hidden) " earlier attempts are on the event's page." } }
        }
    }
}

/// Replays one dead letter.
pub async fn replay_one(
    call: PageCall,
    Path(id): Path<String>,
    _fields: FormFields,
) -> ActionResult {
    let path = Path(id.clone());
    let body = JsonInput(LetterReplay::default());
    drop(replay_dead_letter(call.state(), call.principal.clone(), path, body).await?);
    let notice = "The replay has begun. The dead letter is removed when it succeeds.";
    Ok(call.done(DEAD_LETTERS, format!("{} ({})", notice, short_id(&id))))
}

/// Replays one dead letter with changed data.
pub async fn replay_edited(
    call: PageCall,
    Path(id): Path<String>,
    fields: FormFields,
) -> ActionResult {
    let text = fields.required("data")?;
    let replayed = async {
        let data = RawValue::from_string(text.to_owned())
            .map_err(|error| ApiProblem::fault("data", format!("is not JSON: {error}")))?;
        let body = JsonInput(LetterReplay { data: Some(data) });
        replay_dead_letter(call.state(), call.principal.clone(), Path(id.clone()), body).await
    };
    match replayed.await {
        Ok(_) => {
            let notice =
                "The replay with your data has begun. The dead letter is removed when it succeeds.";
            Ok(call.done(&letter_address(&id), notice))
        }
        Err(problem) if problem.status == StatusCode::UNPROCESSABLE_ENTITY.as_u16() => {
            let content = draw_page(&call, Path(id), Some((text, &problem))).await?;
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            Ok(PageContent { status, ..content }.into_response())
        }
        Err(problem) => Err(problem.into()),
    }
}

/// Longest data that the form accepts, in bytes.
const LONGEST_DATA: usize = 128 * 1024;

/// Draws the form that replays a delivery with changed data, if the token may.
async fn draw_editor(
    call: &PageCall,
    letter: &DeadLetterView,
    event: Option<&EventView>,
    typed: TypedData<'_>,
) -> Result<Option<Markup>, PageProblem> {
    let may = call.may_post("/api/v1/dead-letters/{id}/replay") && call.may_post("/api/v1/events");
    let event = event.filter(|event| event.payload_pruned_at.is_none());
    let delivery = letter.delivery_id.as_deref().filter(|_| may && letter.replayed_at.is_none());
    let delivery = delivery.and_then(|id| id.parse::<DeliveryId>().ok());
    let (Some(event), Some(delivery)) = (event, delivery) else {
        return Ok(None);
    };
    let contents = call.app().journal.find_delivery_contents(delivery).await?;
    let own = contents.and_then(|contents| contents.message).and_then(|message| message.data);
    let present = indent_json(own.as_deref().unwrap_or(&event.data).get());
    let text = typed.map_or(present.as_str(), |(text, _)| text);
    let rows = text.lines().count().clamp(4, 24);
    let is_long = text.len() > LONGEST_DATA;
    Ok(Some(html! {
        section class="panel" aria-labelledby="ed" {
            header { h2 id="ed" { "Replay with other data" } }
            @if is_long { p class="in hint" { "The data is too long for a form (more than 128 KiB). Use the API." } }
            @else {
                form method="post" action={ (letter_address(&letter.id)) "/edit" } class="in stack-s" {
                    (draw_form_key(call))
                    div class={ "field" @if typed.is_some() { " wrong" } } {
                        label for="data" { "Data to send" }
                        textarea id="data" name="data" rows=(rows) spellcheck="false" required
                            aria-describedby="data-h" aria-invalid=[typed.map(|_| "true")] { "\n" (text) }
                        @if let Some((_, problem)) = typed {
                            p class="error" role="alert" { (problem.detail) }
                        }
                        p class="hint" id="data-h" {
                            "The delivery is sent with this data in place of its own, under the same \
                             webhook-id. The event stays as it was captured."
                        }
                    }
                    div class="row" { button class="btn" type="submit" { "Replay with this data" } }
                }
            }
        }
    }))
}

/// Deletes one dead letter for good.
pub async fn delete_one(
    call: PageCall,
    Path(id): Path<String>,
    _fields: FormFields,
) -> ActionResult {
    let path = Path(id.clone());
    delete_dead_letter(call.state(), call.principal.clone(), path).await?;
    Ok(call.done(DEAD_LETTERS, format!("The dead letter {} was deleted.", short_id(&id))))
}
