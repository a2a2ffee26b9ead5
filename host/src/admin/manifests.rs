//! A module's manifest, the capabilities that are granted to it, and the form that approves the
//! rest.

use super::call::PageCall;
use super::layout::draw_form_key;
use super::module_address;
use crate::api::modules::ModuleView;
use crate::store::modules::read_manifest;
use maud::{Markup, html};

/// Draws the form that activates a version, under a button that first says what the version may do.
///
/// An older version than the active one is rolled back to.
pub fn draw_activation(call: &PageCall, view: &ModuleView, active: Option<u32>) -> Markup {
    let is_older = active.is_some_and(|active| view.version < active);
    let action = format!("{}/versions/{}/activate", module_address(&view.name), view.version);
    let pending = view.pending.join(",");
    html! {
        details class="ask" {
            summary class="btn small" { @if is_older { "Roll back…" } @else { "Activate…" } }
            div class="pick" {
                p class="s" {
                    "Flows that are not pinned to a version run this one from the next event on. The \
                     current one stays and can be activated again."
                }
                @if !view.pending.is_empty() {
                    p class="s" { b { "It asks for capabilities that nobody has approved yet:" } }
                    (draw_words(&view.pending))
                }
                form method="post" action=(action) {
                    (draw_form_key(call))
                    input type="hidden" name="approve" value=(pending);
                    button class="btn main" type="submit" {
                        @if !view.pending.is_empty() { "Approve and activate it" }
                        @else if is_older { "Roll back to v" (view.version) }
                        @else { "Activate it" }
                    }
                }
            }
        }
    }
}

fn draw_words(words: &[String]) -> Markup {
    html! {
        ul class="plain stack-s" { @for word in words { li { code { (word) } } } }
    }
}

/// Draws a version's manifest and its capabilities.
pub fn draw_manifest(view: &ModuleView) -> Markup {
    let Some(manifest) = read_manifest(&view.report) else {
        return html! {
            p class="hint" {
                "It has no manifest, so it gets no capabilities, and its configuration is not checked."
            }
        };
    };
    let schema = manifest.config.as_ref().map(|schema| format!("{:#}", schema.0));
    html! {
        p {
            b { (manifest.name) }
            @if let Some(version) = &manifest.version { " " (version) }
            @if let Some(text) = &manifest.description { ": " (text) }
        }
        (draw_grants("It may call", &view.granted))
        (draw_grants("Not approved", &view.pending))
        (draw_grants("Refused by modules.policy", &view.denied))
        @if let Some(schema) = schema {
            details { summary { "Schema of its configuration" } pre { code { (schema) } } }
        }
    }
}

fn draw_grants(title: &str, words: &[String]) -> Markup {
    html! {
        @if !words.is_empty() { p class="hint" { (title) ":" } (draw_words(words)) }
    }
}
