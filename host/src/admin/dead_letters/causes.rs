//! Dead letters by cause: those that died for the same reason at the same place.

use super::DEAD_LETTERS;
use crate::admin::call::{PageCall, PageProblem};
use crate::admin::signs::StateSign;
use crate::admin::tables::{draw_cell, draw_labelled_cell, draw_row, draw_table};
use crate::admin::texts::{draw_age, encode_query, tell_count};
use crate::settings::SettingsSnapshot;
use crate::store::DeathCause;
use maud::{Markup, html};

/// Most dead letters that are read, newest first.
pub const MOST_LETTERS: u32 = 10_000;
/// Most causes on one page.
const MOST_CAUSES: usize = 25;

/// Loads the causes of the newest dead letters, the most frequent first.
pub async fn load_causes(call: &PageCall) -> Result<Vec<DeathCause>, PageProblem> {
    Ok(call.app().journal.list_death_causes(MOST_LETTERS).await?)
}

/// Returns the place where the dead letters of a cause died, and the filter that selects them.
pub fn cause_place(settings: &SettingsSnapshot, cause: &DeathCause) -> (String, String) {
    let reason = format!("reason={}", encode_query(&cause.reason));
    if let Some(id) = cause.endpoint_id {
        let known = settings.find_endpoint(id).map(|target| target.endpoint.settings.name.clone());
        // The filter by endpoint accepts only endpoints that exist.
        let filter = known.as_ref().map_or_else(
            || format!("kind=delivery&{reason}"),
            |name| format!("endpoint={}&{reason}", encode_query(name)),
        );
        return (known.unwrap_or_else(|| "a deleted endpoint".to_owned()), filter);
    }
    if let Some(id) = cause.source_id {
        let known = settings.sources().find(|source| source.id == id);
        let filter = known.map_or_else(
            || format!("kind=row&{reason}"),
            |source| format!("kind=row&source={}&{reason}", encode_query(&source.settings.name)),
        );
        let name = known.map(|source| format!("source {}", source.settings.name));
        return (name.unwrap_or_else(|| "a deleted source".to_owned()), filter);
    }
    let flow = cause.flow_id.and_then(|id| settings.find_flow(id));
    let name = flow.map(|route| format!("flow {}", route.flow.settings.name));
    (name.unwrap_or_else(|| "a deleted flow".to_owned()), format!("kind=event&{reason}"))
}

/// Draws the table of causes.
pub fn draw_causes(call: &PageCall, causes: &[DeathCause]) -> Markup {
    let settings = call.settings();
    let rows = html! {
        @for cause in causes.iter().take(MOST_CAUSES) {
            @let (place, filter) = cause_place(&settings, cause);
            @let address = format!("{DEAD_LETTERS}?{filter}#sel");
            (draw_row(&html! {
                (draw_cell("clip", &html! {
                    a class="name" href=(address) title=(cause.detail) { (cause.detail) }
                    span class="why" { (cause.reason) " at " (place) }
                }))
                (draw_cell("num r", &html! { b { (tell_count(cause.letters)) } }))
                (draw_labelled_cell("nw", "First", &draw_age(call.now, cause.first_at)))
                (draw_labelled_cell("nw r", "Last", &draw_age(call.now, cause.last_at)))
                (draw_cell("nw w", &html! {
                    @if cause.replaying > 0 {
                        (StateSign::REPLAYING.draw_with(&format!("{} replaying", tell_count(cause.replaying))))
                    } @else { (StateSign { word: "Open", ..StateSign::WARNING }.draw()) }
                }))
                (draw_cell("act w", &html! { a class="btn small" href=(address) { "Review" } }))
            }))
        }
    };
    let columns = [
        ("Cause", false),
        ("Count", true),
        ("First", false),
        ("Last", false),
        ("State", false),
        ("", false),
    ];
    let hidden = causes.len().saturating_sub(MOST_CAUSES);
    html! {
        section class="panel" aria-label="Causes" {
            (draw_table("Dead letters by cause", "mid", &columns, &rows))
            @if hidden > 0 { footer { (hidden) " more causes with fewer dead letters each." } }
        }
    }
}
