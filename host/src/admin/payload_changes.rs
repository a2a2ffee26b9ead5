//! The differences between two payloads, as a table.

use super::texts::tell_number;
use crate::json::difference::{ValueChange, compare_values};
use maud::{Markup, html};
use serde_json::Value;

/// Most changes in the table.
const MOST_CHANGES: usize = 100;

/// Draws the differences between two payloads.
pub fn draw_changes(before: &Value, after: &Value) -> Markup {
    let changes = compare_values(before, after);
    let hidden = changes.len().saturating_sub(MOST_CHANGES);
    html! {
        @if changes.is_empty() { p class="hint" { "The payload is the same." } }
        @else {
            table class="t" {
                caption class="vh" { "Changes of the payload" }
                thead { tr { th scope="col" { "Field" } th scope="col" { "Before" } th scope="col" { "After" } } }
                tbody {
                    @for change in changes.iter().take(MOST_CHANGES) { (draw_change(change)) }
                }
            }
            @if hidden > 0 { p class="hint" { (tell_number(hidden as u64, "more change", "more changes")) "." } }
        }
    }
}

fn draw_change(change: &ValueChange<'_>) -> Markup {
    let (path, before, after) = match change {
        ValueChange::Added { path, value } => (path, None, Some(*value)),
        ValueChange::Removed { path, value } => (path, Some(*value), None),
        ValueChange::Changed { path, before, after } => (path, Some(*before), Some(*after)),
    };
    let cell = |value: Option<&Value>| {
        html! {
            td class="long" {
                @match value { Some(value) => code { (shorten(&value.to_string())) }, None => span class="soft" { "–" } }
            }
        }
    };
    html! { tr { td class="long" { code { (path) } } (cell(before)) (cell(after)) } }
}

/// Longest value in the table, in characters.
const LONGEST_VALUE: usize = 200;

fn shorten(text: &str) -> String {
    match text.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_are_a_table_and_hostile_values_are_escaped() {
        let drawn = draw_changes(&json!({"a": 1, "b": 2}), &json!({"a": "<script>", "c": 3}));
        let text = drawn.into_string();
        assert!(text.contains("&lt;script&gt;") && !text.contains("<script>"), "{text}");
        assert_eq!(text.matches("<tr>").count(), 4, "{text}");
    }
}
