//! Replays all matching dead letters. The preview says how many match, and only that many are
//! replayed.

use super::{DEAD_LETTERS, LettersPage, read_kind};
use crate::admin::call::{ActionResult, PageCall, PageProblem};
use crate::admin::forms::FormFields;
use crate::admin::layout::draw_form_key;
use crate::admin::texts::{encode_query, tell_count, tell_number};
use crate::api::body::JsonInput;
use crate::api::dead_letters::bulk_replay::{ReplayFilter, ReplayRequest, replay_dead_letters};
use crate::api::dead_letters::{DeadLetterKind, DeadLetterQuery, ReplayNeeds, check_needs};
use crate::api::problem::ApiProblem;
use crate::settings::SettingsSnapshot;
use crate::store::LetterCount;
use axum::Json;
use maud::{Markup, html};
use std::collections::BTreeSet;

/// The REST route that replays several dead letters.
const ROUTE: &str = "/api/v1/dead-letters/replay";
/// Most places that the preview names.
const MOST_PLACES: usize = 5;

/// The effect of a replay.
#[derive(Debug, Default)]
struct ReplayPlan {
    /// Matching dead letters that are not being replayed.
    matched: u64,
    /// The dead letters among them whose endpoint, flow or source exists.
    possible: u64,
    /// The places to which those would go.
    places: BTreeSet<String>,
}

impl ReplayPlan {
    fn of(settings: &SettingsSnapshot, counts: &[LetterCount]) -> Self {
        let mut plan = Self::default();
        for count in counts {
            plan.matched += count.letters;
            let needs = ReplayNeeds {
                endpoint: count.endpoint_id,
                flow: count.flow_id,
                source: count.source_id,
            };
            if check_needs(settings, needs).is_ok() {
                plan.possible += count.letters;
                plan.places.extend(place_name(settings, needs));
            }
        }
        plan
    }
}

fn place_name(settings: &SettingsSnapshot, needs: ReplayNeeds) -> Option<String> {
    if let Some(source) = needs.source {
        let found = settings.sources().find(|known| known.id == source)?;
        return Some(format!("source {}", found.settings.name));
    }
    if let Some(endpoint) = needs.endpoint {
        return Some(settings.find_endpoint(endpoint)?.endpoint.settings.name.clone());
    }
    Some(format!("the modules of {}", settings.find_flow(needs.flow?)?.flow.settings.name))
}

async fn load_plan(call: &PageCall, query: DeadLetterQuery) -> Result<ReplayPlan, PageProblem> {
    let settings = call.settings();
    let filter = query.filter(&settings)?;
    let counts = call.app().journal.count_letter_subjects(&filter).await?;
    Ok(ReplayPlan::of(&settings, &counts))
}

/// Draws the preview of a replay of all matching dead letters, if the token may start it.
pub async fn draw_preview(
    call: &PageCall,
    page: &LettersPage,
) -> Result<Option<Markup>, PageProblem> {
    if !call.may_post(ROUTE) {
        return Ok(None);
    }
    // Dead letters that are made after the page are not part of its offer.
    let until = call.now.to_string();
    let query = DeadLetterQuery { until: Some(until.clone()), ..page.query(call) };
    let since = query.since.clone();
    let plan = load_plan(call, query).await?;
    if plan.matched == 0 {
        return Ok(None);
    }
    Ok(Some(html! {
        section class="panel early" aria-labelledby="rp" {
            header { h2 id="rp" { "Replay all that match" } }
            form class="in stack-s" method="post" action="/admin/dead-letters/replay" {
                (draw_form_key(call))
                (draw_hidden_filter(page, since.as_deref()))
                input type="hidden" name="until" value=(until);
                input type="hidden" name="count" value=(plan.possible);
                (draw_plan(&plan))
            }
        }
    }))
}

/// Draws the current filter as hidden fields.
pub fn draw_hidden_filter(page: &LettersPage, since: Option<&str>) -> Markup {
    let fields = [
        ("endpoint", page.endpoint.as_deref()),
        ("source", page.source.as_deref()),
        ("kind", page.kind.as_deref()),
        ("event_type", page.event_type.as_deref()),
        ("reason", page.reason.as_deref()),
        ("since", since),
    ];
    html! {
        @for (name, value) in fields {
            @if let Some(value) = value.filter(|value| !value.is_empty()) {
                input type="hidden" name=(name) value=(value);
            }
        }
    }
}

/// Draws the effect of a replay, and the button that starts it.
fn draw_plan(plan: &ReplayPlan) -> Markup {
    let left = plan.matched - plan.possible;
    let hidden = plan.places.len().saturating_sub(MOST_PLACES);
    let places: Vec<&str> = plan.places.iter().map(String::as_str).take(MOST_PLACES).collect();
    html! {
        p class="s" {
            (tell_number(plan.matched, "dead letter matches", "dead letters match"))
            " the filter. "
            @if left > 0 {
                (tell_count(left))
                " of them cannot be replayed: their endpoint, flow or source was deleted or is \
                 paused."
            }
        }
        @if plan.possible > 0 {
            dl class="facts" {
                dt { "Go to" }
                dd { (places.join(", ")) @if hidden > 0 { " and " (hidden) " more" } }
                dt { "Sent" } dd { "under the same webhook-id as before" }
                dt { "Stay" } dd { "each dead letter stays until its replay succeeds" }
            }
            div class="field" {
                label for="rate" { "Rate, per second" }
                input id="rate" name="per_second" inputmode="decimal" value="20"
                    aria-describedby="rate-h";
                p class="hint" id="rate-h" {
                    "Protects a receiver that has just recovered. Empty: no limit."
                }
            }
            button class="btn main" type="submit" { "Replay " (tell_count(plan.possible)) }
        }
    }
}

/// Replays all dead letters that match the filter in the form, if their number is still the one on
/// the button.
pub async fn replay_matching(call: PageCall, fields: FormFields) -> ActionResult {
    let until = Some(fields.required("until")?.to_owned());
    let filter = ReplayFilter { until, ..read_filter(&fields) };
    let expected: u64 = read_number(&fields, "count")?.ok_or_else(|| {
        ApiProblem::fault(
            "count",
            "is missing: it must be the number that the page showed; open the page again",
        )
    })?;
    let per_second: Option<f64> = read_number(&fields, "per_second")?;
    let back = list_address(&filter);
    let plan = load_plan(&call, filter.clone().into_query()).await?;
    if plan.possible != expected {
        let notice = format!(
            "Nothing was replayed: {} matched when the page was made, and {} match now. Check the list, \
             then replay.",
            tell_count(expected),
            tell_count(plan.possible)
        );
        return Ok(call.done(&back, notice));
    }
    let request = JsonInput(ReplayRequest { filter, per_second, dry_run: false });
    let Json(begun) = replay_dead_letters(call.state(), call.principal.clone(), request).await?;
    let notice = format!(
        "{} begun. Each dead letter is removed when its replay succeeds.",
        tell_number(begun.data.replayed, "replay has", "replays have")
    );
    let begun = begun.data.replayed;
    let sign = if back.ends_with('?') { "" } else { "&" };
    Ok(call.done(&format!("{back}{sign}begun={begun}#progress"), notice))
}

/// Reads the filter from the hidden fields of a form.
pub fn read_filter(fields: &FormFields) -> ReplayFilter {
    ReplayFilter {
        endpoint: fields.owned("endpoint"),
        source: fields.owned("source"),
        kind: read_kind(fields.text("kind")),
        event_type: fields.owned("event_type"),
        reason: fields.owned("reason"),
        since: fields.owned("since"),
        until: None,
    }
}

fn read_number<N: std::str::FromStr>(
    fields: &FormFields,
    name: &str,
) -> Result<Option<N>, ApiProblem> {
    let Some(text) = fields.text(name) else { return Ok(None) };
    let wrong = |_| ApiProblem::fault(name, "is not a number");
    text.parse().map(Some).map_err(wrong)
}

/// Returns the address of the list with the same filter.
pub fn list_address(filter: &ReplayFilter) -> String {
    let kind = filter.kind.map(DeadLetterKind::as_str);
    let pairs = [
        ("endpoint", filter.endpoint.as_deref()),
        ("source", filter.source.as_deref()),
        ("kind", kind),
        ("event_type", filter.event_type.as_deref()),
        ("reason", filter.reason.as_deref()),
    ];
    let pairs = pairs
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| format!("{name}={}", encode_query(value))));
    format!("{DEAD_LETTERS}?{}", pairs.collect::<Vec<_>>().join("&"))
}
