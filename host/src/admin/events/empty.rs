//! The list before the first event: how to send one.

use crate::admin::call::{PageCall, PageContent, PageSection};
use crate::admin::signs::StateSign;
use maud::{Markup, html};

const WAITING: StateSign = StateSign { word: "Waiting for the first event", ..StateSign::RUNNING };

const DATABASE: &str = "waybill source create crm \\\n  --database mysql://waybill@db/perfex \\\n  --secret 'its password'";
const WEBHOOK: &str =
    "waybill source create crm-hooks \\\n  --webhook perfexapi\n\nIts address  /in/crm-hooks";
const PUSHED: &str = "curl \"$WAYBILL/api/v1/events\" \\\n  -H \"Authorization: Bearer $TOKEN\" \\\n  -H \"Content-Type: application/json\" \\\n  -d '{\"type\":\"invoice.paid\",\n       \"data\":{\"id\":\"17\"}}'";

/// Draws three ways to the first event.
pub fn first_event_content(call: &PageCall) -> PageContent {
    let body = html! {
        div class="stack" {
            div class="head" {
                div {
                    h1 { "No events yet" }
                    p class="lead" {
                        "The server is ready and listening. An event appears here within a second \
                         of any of these three."
                    }
                }
                (WAITING.draw_pill())
            }
            div class="ways" {
                (draw_way("1. Read its database",
                    "Waybill reads the CRM's database with a user that may only SELECT. Nothing is \
                     installed in the CRM; the first event comes with the next change.", DATABASE))
                (draw_way("2. Take its webhooks",
                    "The CRM sends to an address that Waybill gives you. The signature of each \
                     request is checked.", WEBHOOK))
                (draw_way("3. Send one yourself",
                    "Any program that can POST. Waybill answers once the event is safely stored.",
                    PUSHED))
            }
            p class="meta s" {
                "Only looking? " code { "waybill demo" }
                " runs made-up CRM events through example modules on a throw-away database."
                @if call.principal.token().is_limited() {
                    " This token sees only some tables or sources; others may have events."
                }
            }
        }
    };
    PageContent::new(PageSection::Events, "Events", body)
}

fn draw_way(title: &str, text: &str, example: &str) -> Markup {
    html! {
        section class="panel" {
            h2 { (title) }
            p class="soft s" { (text) }
            pre class="code" role="region" tabindex="0" aria-label={ (title) ": what to enter" } {
                (example)
            }
        }
    }
}
