//! Replays in progress: how many are left, and a button to stop them.

use super::replay::{draw_hidden_filter, list_address, read_filter};
use super::{DEAD_LETTERS, LettersPage};
use crate::admin::call::{ActionResult, PageCall};
use crate::admin::forms::FormFields;
use crate::admin::layout::draw_form_key;
use crate::admin::signs::StateSign;
use crate::admin::texts::{tell_count, tell_number};
use crate::api::body::JsonInput;
use crate::api::dead_letters::bulk_replay::{StopRequest, stop_replays};
use crate::store::DeathCause;
use axum::Json;
use maud::{Markup, html};

/// The REST route that stops replays.
const ROUTE: &str = "/api/v1/dead-letters/stop-replay";

/// Draws the replays in progress among the dead letters of the filter. The part is on the page even
/// without replays, so that an open page can show the first one.
pub fn draw_progress(call: &PageCall, page: &LettersPage, causes: &[DeathCause]) -> Markup {
    let left: u64 =
        causes.iter().filter(|cause| page.shows_cause(call, cause)).map(|c| c.replaying).sum();
    let since = page.query(call).since;
    // The count of the person's last replay. Other replays may be in progress too.
    let begun = page.begun.filter(|begun| *begun >= left && *begun > 0);
    html! {
        div id="progress" data-live="part" {
            @if left > 0 || begun.is_some() {
                section class="panel" aria-labelledby="under-way" {
                    header {
                        h2 id="under-way" {
                            @if left > 0 { (tell_number(left, "replay", "replays")) " under way" }
                            @else { "The replay has ended" }
                        }
                        @if left > 0 { (StateSign::REPLAYING.draw_pill()) }
                    }
                    div class="in stack-s" role="status" {
                        @if let Some(begun) = begun {
                            progress max=(begun) value=(begun - left) aria-label="Replays that ended" {}
                            p class="s" {
                                (tell_count(begun - left)) " of " (tell_count(begun)) " have ended. Those that \
                                 failed again are dead letters again."
                            }
                        }
                        @if left > 0 && call.may_post(ROUTE) {
                            form method="post" action={ (DEAD_LETTERS) "/stop" } {
                                (draw_form_key(call))
                                (draw_hidden_filter(page, since.as_deref()))
                                button class="btn" type="submit" { "Stop" }
                            }
                            p class="hint" {
                                "Stopping calls off the replays that still wait. Their dead \
                                 letters stay."
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Stops the replays that the filter in the form selects.
pub async fn stop(call: PageCall, fields: FormFields) -> ActionResult {
    let filter = read_filter(&fields);
    let back = list_address(&filter);
    let request = JsonInput(StopRequest { filter });
    let Json(done) = stop_replays(call.state(), call.principal.clone(), request).await?;
    let notice = format!(
        "{} called off. The dead letters stay.",
        tell_number(done.data.stopped, "replay was", "replays were")
    );
    Ok(call.done(&back, notice))
}
