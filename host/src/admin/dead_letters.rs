//! The page of dead letters: what died, why, and what a replay would do.

pub mod causes;
pub mod letter;
pub mod progress;
pub mod replay;

use super::call::{ActionResult, PageCall, PageContent, PageProblem, PageResult, PageSection};
use super::endpoint_address;
use super::filters::{
    FilterChoice, FilterValue, draw_pager, filled, query_without, span_choice, span_seconds,
};
use super::layout::draw_button;
use super::signs::StateSign;
use super::tables::{draw_cell, draw_labelled_cell, draw_row, draw_table};
use super::texts::{draw_age, encode_query, tell_number};
use crate::api::body::QueryInput;
use crate::api::dead_letters::{
    DeadLetterKind, DeadLetterQuery, DeadLetterView, export_dead_letters, list_dead_letters,
};
use crate::api::endpoints::find_endpoint;
use crate::api::sources::find_source;
use crate::store::DeathCause;
use axum::Json;
use causes::{MOST_LETTERS, draw_causes, load_causes};
use http::Uri;
use maud::{Markup, html};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Address of the list.
pub const DEAD_LETTERS: &str = "/admin/dead-letters";
/// Dead letters on one page.
const SHOWN: u32 = 25;
const KINDS: [(&str, &str); 3] =
    [("delivery", "deliveries"), ("event", "modules that failed"), ("row", "rows of sources")];

/// The parameters of the list's address.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LettersPage {
    pub endpoint: Option<String>,
    pub source: Option<String>,
    pub kind: Option<String>,
    pub event_type: Option<String>,
    pub reason: Option<String>,
    span: Option<String>,
    cursor: Option<String>,
    /// Number of replays that the person has just begun.
    pub begun: Option<u64>,
}

/// Returns the kind of dead letter for a word of the address.
pub fn read_kind(word: Option<&str>) -> Option<DeadLetterKind> {
    match word {
        Some("delivery") => Some(DeadLetterKind::Delivery),
        Some("event") => Some(DeadLetterKind::Event),
        Some("row") => Some(DeadLetterKind::Row),
        Some(_) | None => None,
    }
}

impl LettersPage {
    /// Returns the filter in the form that the REST API takes. A time span becomes the time at
    /// which it begins, so a replay applies to the same rows as the page that offered it.
    pub fn query(&self, call: &PageCall) -> DeadLetterQuery {
        let owned = |text: &Option<String>| filled(text.as_ref()).map(str::to_owned);
        let since = span_seconds(filled(self.span.as_ref()))
            .map(|seconds| call.now.before(Duration::from_secs(seconds)).to_string());
        DeadLetterQuery {
            endpoint: owned(&self.endpoint),
            source: owned(&self.source),
            kind: read_kind(filled(self.kind.as_ref())),
            event_type: owned(&self.event_type),
            reason: owned(&self.reason),
            since,
            cursor: owned(&self.cursor),
            limit: Some(SHOWN.to_string()),
            ..DeadLetterQuery::default()
        }
    }

    /// Whether a cause matches the chosen endpoint, source and reason.
    pub fn shows_cause(&self, call: &PageCall, cause: &DeathCause) -> bool {
        let settings = call.settings();
        let endpoint = filled(self.endpoint.as_ref());
        let source = filled(self.source.as_ref());
        let is_endpoint = endpoint.is_none_or(|text| {
            let found = find_endpoint(&settings, text).map(|target| target.endpoint.id);
            found.ok() == cause.endpoint_id
        });
        let is_source = source.is_none_or(|text| {
            let found = find_source(&settings, text).map(|runtime| runtime.source.id);
            found.ok() == cause.source_id
        });
        let reason = filled(self.reason.as_ref());
        is_endpoint && is_source && reason.is_none_or(|reason| reason == cause.reason)
    }

    fn is_narrow(&self) -> bool {
        let texts =
            [&self.endpoint, &self.source, &self.kind, &self.event_type, &self.reason, &self.span];
        texts.into_iter().any(|text| filled(text.as_ref()).is_some())
    }
}

/// Shows the causes, the matching dead letters, and a preview of their replay.
pub async fn show_list(
    call: PageCall,
    uri: Uri,
    QueryInput(page): QueryInput<LettersPage>,
) -> PageResult {
    let causes = load_causes(&call).await?;
    let list = load_list(&call, &uri, &page).await?;
    let preview = replay::draw_preview(&call, &page).await?;
    let is_known = !causes.is_empty() || page.is_narrow() || page.cursor.is_some();
    let body = html! {
        div class="stack" {
            div id="live-causes" data-live="part" { (draw_head(&causes)) }
            (progress::draw_progress(&call, &page, &causes))
            div id="live-death-causes" data-live="part" {
                @if !causes.is_empty() { (draw_causes(&call, &causes)) }
            }
            // Live, too: an ended replay must not leave rows that are still to be replayed.
            div id="live-letters" data-live="part" {
                @if is_known {
                    div class="stack-s" id="sel" {
                        h2 class="vh" { "Dead letters that match" }
                        (draw_filters(&call, &page, &causes))
                        div class={ @if preview.is_some() { "wide-narrow" } } {
                            (list)
                            @if let Some(preview) = preview { (preview) }
                        }
                    }
                }
            }
        }
    };
    Ok(PageContent::new(PageSection::DeadLetters, "Dead letters", body))
}

fn draw_head(causes: &[DeathCause]) -> Markup {
    let letters: u64 = causes.iter().map(|cause| cause.letters).sum();
    let replaying: u64 = causes.iter().map(|cause| cause.replaying).sum();
    let is_bounded = letters >= u64::from(MOST_LETTERS);
    html! {
        div class="head" { div {
            h1 {
                @if letters == 0 { "No dead letters" }
                @else {
                    @if is_bounded { "More than " }
                    (tell_number(letters, "dead letter", "dead letters")) ", "
                    (tell_number(causes.len() as u64, "cause", "causes"))
                }
            }
            p class="lead s" {
                @if letters == 0 { "Every due delivery has arrived or is still being tried. Deliveries that no retry can fix appear here." }
                @else {
                    "These are not retried automatically. Mend the cause, then replay them."
                }
                @if replaying > 0 {
                    " " (tell_number(replaying, "replay is", "replays are")) " under way."
                }
            }
        } }
    }
}

fn draw_filters(call: &PageCall, page: &LettersPage, causes: &[DeathCause]) -> Markup {
    let settings = call.settings();
    let names: Vec<FilterValue> = settings
        .endpoints()
        .map(|target| FilterValue::plain(target.endpoint.settings.name.as_str(), None))
        .collect();
    let mut sources: Vec<FilterValue> = settings
        .sources()
        .map(|source| FilterValue::plain(source.settings.name.as_str(), None))
        .collect();
    sources.sort_by(|a, b| a.value.cmp(&b.value));
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for cause in causes {
        *reasons.entry(&cause.reason).or_default() += cause.letters;
    }
    let reasons =
        reasons.into_iter().map(|(reason, count)| FilterValue::plain(reason, Some(count)));
    let kinds = KINDS.iter().map(|(kind, label)| FilterValue::labelled(kind, label)).collect();
    let choice =
        |name, label, chosen, values, any| FilterChoice { name, label, chosen, values, any };
    html! {
        form class="filters" role="search" aria-label="Filter dead letters" action={ (DEAD_LETTERS) "#sel" } {
            div class="q" {
                label class="vh" for="type" { "Event type" }
                input id="type" name="event_type" type="search" placeholder="Event type"
                    value=[filled(page.event_type.as_ref())];
            }
            (choice("endpoint", "Endpoint", filled(page.endpoint.as_ref()), names, "any endpoint").draw())
            (choice("reason", "Reason", filled(page.reason.as_ref()), reasons.collect(), "any reason").draw())
            (choice("source", "Source", filled(page.source.as_ref()), sources, "any source").draw())
            (choice("kind", "What", filled(page.kind.as_ref()), kinds, "anything").draw())
            (span_choice(filled(page.span.as_ref())).draw())
            button class="btn" type="submit" { "Search" }
            @if page.is_narrow() { a class="btn bare" href={ (DEAD_LETTERS) "#sel" } { "Clear" } }
        }
    }
}

async fn load_list(call: &PageCall, uri: &Uri, page: &LettersPage) -> Result<Markup, PageProblem> {
    let query = QueryInput(page.query(call));
    let Json(found) =
        list_dead_letters(call.state(), call.principal.clone(), uri.clone(), query).await?;
    let rows = html! {
        @for letter in &found.data { (draw_row(&draw_cells(call, letter))) }
    };
    let columns = [("Why", false), ("Where", false), ("Event", false), ("Died", true), ("", false)];
    let next = found.meta.next_cursor.as_deref();
    Ok(html! {
        section class="panel" aria-label="Dead letters that match" {
            @if found.data.is_empty() {
                p class="in" {
                    @if next.is_some() {
                        "None of the 10,000 dead letters searched here matches. Older ones may match."
                    }
                    @else if page.is_narrow() { "No dead letter matches this filter." }
                    @else { "There are no dead letters." }
                }
            } @else { (draw_table("Dead letters that match the filter", "mid", &columns, &rows)) }
            (draw_pager(DEAD_LETTERS, uri.query().unwrap_or_default(), found.data.len(), next))
            @if !found.data.is_empty() {
                footer {
                    a href={ (DEAD_LETTERS) "/export?" (query_without(uri.query().unwrap_or_default(), "cursor")) }
                        download { "Export all that match, with their events, as NDJSON" }
                }
            }
        }
    })
}

/// Exports all matching dead letters, one JSON object on each line.
pub async fn export(call: PageCall, QueryInput(page): QueryInput<LettersPage>) -> ActionResult {
    let query = DeadLetterQuery { cursor: None, limit: None, ..page.query(&call) };
    Ok(export_dead_letters(call.state(), call.principal.clone(), QueryInput(query)).await?)
}

fn draw_cells(call: &PageCall, letter: &DeadLetterView) -> Markup {
    let address = letter_address(&letter.id);
    let is_open = letter.replayed_at.is_none();
    let may_replay = is_open && call.may_post("/api/v1/dead-letters/{id}/replay");
    html! {
        (draw_cell("clip w", &html! {
            a class="name" href=(address) title=(letter.detail) { (letter.detail) }
            span class="why" {
                @if is_open { (letter.reason) } @else { (StateSign::REPLAYING.draw()) }
            }
        }))
        (draw_cell("w", &draw_place(letter)))
        (draw_cell("w", &html! {
            @match &letter.event_type { Some(event_type) => code { (event_type) }, None => "–" }
        }))
        (draw_labelled_cell("num nw", "Died", &draw_age(call.now, letter.created_at)))
        (draw_cell("act w", &html! {
            @if may_replay { (draw_button(call, &format!("{address}/replay"), "small", "Replay")) }
            @else { a class="btn small" href=(address) { "Inspect" } }
        }))
    }
}

/// Draws the place where something died: an endpoint, a flow, or a row of a source.
pub fn draw_place(letter: &DeadLetterView) -> Markup {
    html! {
        @if let Some(name) = &letter.endpoint { a href=(endpoint_address(name)) { (name) } }
        @else if letter.endpoint_id.is_some() { span class="soft" { "a deleted endpoint" } }
        @else if let Some(flow) = &letter.flow { "flow " (flow) }
        @else if let Some(list) = &letter.list {
            (letter.source.as_deref().unwrap_or("a deleted source")) ", " (list)
            @if let Some(row) = &letter.row { " " code { (row) } }
        }
    }
}

/// Returns the address of a dead letter's page.
pub fn letter_address(id: &str) -> String {
    format!("{DEAD_LETTERS}/{}", encode_query(id))
}
