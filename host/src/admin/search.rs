//! Search from any page. An id leads to its page, a record to its history, and a word to the
//! objects with that word in their names.

use super::call::{ActionResult, PageCall, PageContent, PageSection};
use super::events::{EVENTS, event_address};
use super::history::record_address;
use super::texts::encode_query;
use super::{endpoint_address, flow_address, module_address, source_address};
use crate::api::body::QueryInput;
use axum::response::{IntoResponse as _, Redirect};
use maud::{Markup, html};
use serde::Deserialize;

/// Most results of each kind.
const MOST_FOUND: usize = 20;
/// Longest search text, in characters.
const LONGEST: usize = 200;

/// The search text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SearchQuery {
    q: String,
}

/// A search result.
struct FoundThing {
    kind: &'static str,
    name: String,
    address: String,
}

/// Returns the address of an id's page, by the id's prefix.
fn page_of_id(text: &str) -> Option<String> {
    let (prefix, _) = text.split_once('_').filter(|(_, rest)| rest.len() >= 32)?;
    let id = encode_query(text);
    match prefix {
        "evt" => Some(event_address(&id)),
        "dlv" => Some(format!("/admin/deliveries/{id}")),
        "dlt" => Some(format!("/admin/dead-letters/{id}")),
        "end" => Some(format!("/admin/endpoints/{id}")),
        "flw" => Some(format!("/admin/flows/{id}")),
        "src" => Some(format!("/admin/sources/{id}")),
        "tok" => Some(format!("/admin/tokens/{id}")),
        _ => None,
    }
}

/// Returns the address of a record's page, if the text names a record, such as `invoice 1042`.
fn record_page(text: &str) -> Option<String> {
    let (resource, id) = text.split_once([' ', '/'])?;
    let is_word =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let resource = resource.to_ascii_lowercase();
    is_word(&resource).then(|| record_address(&resource, id.trim()))
}

/// Leads to the one object that was meant, or shows the candidates.
pub async fn show_results(
    call: PageCall,
    QueryInput(query): QueryInput<SearchQuery>,
) -> ActionResult {
    let text: String = query.q.trim().chars().take(LONGEST).collect();
    if let Some(page) = page_of_id(&text).or_else(|| record_page(&text)) {
        return Ok(Redirect::to(&page).into_response());
    }
    let found = if text.is_empty() { Vec::new() } else { find_named(&call, &text.to_lowercase()) };
    let body = draw_results(&call, &text, &found);
    let content = PageContent::new(PageSection::Overview, "Search", body);
    Ok(PageContent { section: None, ..content }.into_response())
}

/// Finds endpoints, flows, sources and modules by name that the token may read.
fn find_named(call: &PageCall, text: &str) -> Vec<FoundThing> {
    let settings = call.settings();
    let has = |name: &str| name.to_lowercase().contains(text);
    let mut found = Vec::new();
    let mut add = |kind, names: Vec<String>, address: fn(&str) -> String| {
        let names = names.into_iter().filter(|name| has(name)).take(MOST_FOUND);
        found.extend(names.map(|name| FoundThing { kind, address: address(&name), name }));
    };
    if call.may_read("/api/v1/endpoints") {
        let names = settings.endpoints().map(|target| target.endpoint.settings.name.clone());
        add("endpoint", names.collect(), endpoint_address);
    }
    let flows = || settings.flows().iter().map(|route| &route.flow.settings);
    if call.may_read("/api/v1/flows") {
        add("flow", flows().map(|flow| flow.name.clone()).collect(), flow_address);
    }
    if call.may_read("/api/v1/sources") {
        let names = settings.sources().map(|source| source.settings.name.clone());
        add("source", names.collect(), source_address);
    }
    if call.may_read("/api/v1/modules") {
        let names = flows().flat_map(|flow| flow.modules.iter().map(|module| module.name.clone()));
        let names: std::collections::BTreeSet<String> = names.collect();
        add("module", names.into_iter().collect(), module_address);
    }
    found
}

fn draw_results(call: &PageCall, text: &str, found: &[FoundThing]) -> Markup {
    let sees_events = call.may_read("/api/v1/events") && !text.is_empty();
    html! {
        div class="stack" {
            div class="head" { div {
                h1 { @if text.is_empty() { "Search" } @else { "Found for “" (text) "”" } }
                p class="lead s" {
                    "An id such as evt_… leads to its page, and “invoice 1042” leads to the history of \
                     that record."
                }
            } }
            section class="panel" aria-label="Results" {
                ul class="in stack-s" {
                    @for thing in found {
                        li {
                            a href=(thing.address) { (thing.name) }
                            " " span class="soft" { (thing.kind) }
                        }
                    }
                    @if sees_events {
                        li {
                            a href={ (EVENTS) "?resource_id=" (encode_query(text)) } {
                                "Events of records with this id"
                            }
                        }
                        li {
                            a href={ (EVENTS) "?text=" (encode_query(text)) } {
                                "Events with this text in their data, among the newest 2,000"
                            }
                        }
                        li {
                            a href={ (EVENTS) "?type=" (encode_query(text)) } {
                                "Events of this type"
                            }
                        }
                    }
                    @if found.is_empty() {
                        li class="hint" { "No endpoint, flow, source or module has this in its name." }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_records_are_recognised() {
        let id = "evt_01932f00-0000-7000-8000-0123456789ab";
        assert!(page_of_id(id).unwrap().starts_with("/admin/events/evt"));
        assert_eq!(page_of_id("evt_short"), None);
        let found = record_page("Invoice 1042").unwrap();
        assert_eq!(found, "/admin/records/invoice/1042");
        assert_eq!(record_page("1042"), None);
    }
}
