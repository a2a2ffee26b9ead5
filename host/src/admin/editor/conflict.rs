//! Merges a form with settings that another request changed while the form was open. If only one
//! side changed a field, that change stays. If both did, the form shows both values.

use super::form_fields::FormField;
use super::form_values::FormValues;
use maud::{Markup, html};

/// A field that another request changed since the form was made.
#[derive(Debug, PartialEq, Eq)]
pub struct ForeignChange {
    pub path: String,
    pub label: String,
    /// The value in the form, if the person changed the field to something else.
    pub typed: Option<String>,
    /// The value that the other request set.
    pub now: String,
}

/// Takes the changes of others into a form, except for fields that the person changed too.
pub fn merge_changes(
    fields: &[FormField],
    was: &FormValues,
    typed: &mut FormValues,
    now: &FormValues,
) -> Vec<ForeignChange> {
    let mut changes = Vec::new();
    for field in fields {
        let path = &field.path;
        let (before, mine, theirs) = (was.tell(path), typed.tell(path), now.tell(path));
        if theirs == before || theirs == mine {
            continue;
        }
        let is_mine = mine != before;
        if !is_mine {
            typed.take_from(now, path);
        }
        changes.push(ForeignChange {
            path: path.clone(),
            label: field.label.clone(),
            typed: is_mine.then_some(mine),
            now: theirs,
        });
    }
    changes
}

fn tell_text(text: &str) -> &str {
    if text.is_empty() { "nothing" } else { text }
}

impl ForeignChange {
    /// Returns the text at the field.
    pub fn note(&self) -> String {
        match self.typed {
            Some(_) => format!("Another request set this to: {}", tell_text(&self.now)),
            None => "Another request changed this. The field now shows the new value.".to_owned(),
        }
    }
}

/// Draws the table of both values.
pub fn draw_changes(changes: &[ForeignChange]) -> Markup {
    html! {
        section class="panel" aria-labelledby="both" {
            header { h2 id="both" { "Changed by another request" } }
            @if changes.is_empty() {
                p class="in" {
                    "A secret or a value that is not shown was changed. Check the form, then save again."
                }
            } @else {
                table class="t" {
                    caption class="vh" { "Fields that another request changed" }
                    thead {
                        tr {
                            th scope="col" { "Field" }
                            th scope="col" { "You typed" }
                            th scope="col" { "It is now" }
                        }
                    }
                    tbody {
                        @for change in changes {
                            tr {
                                td { (change.label) }
                                td class="long" {
                                    @match &change.typed {
                                        Some(text) => (tell_text(text)),
                                        None => span class="soft" { "no change: the new value is in the form" },
                                    }
                                }
                                td class="long" { (tell_text(&change.now)) }
                            }
                        }
                    }
                }
                footer {
                    "Saving again stores the form below. If you both changed a \
                     field, your value is in the form."
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::editor::form_fields::fields_of;
    use crate::model::endpoint::EndpointSettings;
    use serde_json::json;

    #[test]
    fn one_sided_changes_stay_and_conflicts_show_both_values() {
        let fields = fields_of::<EndpointSettings>();
        let of = |settings| FormValues::of_settings(&fields, &settings);
        let was = of(json!({"name": "a", "url": "http://one/", "mode": "async", "timeout": "5s"}));
        let mut typed =
            of(json!({"name": "a", "url": "http://mine/", "mode": "smart", "timeout": "5s"}));
        let now =
            of(json!({"name": "a", "url": "http://theirs/", "mode": "async", "timeout": "9s"}));
        let changes = merge_changes(&fields, &was, &mut typed, &now);
        let told: Vec<_> =
            changes.iter().map(|c| (c.path.as_str(), c.typed.as_deref(), c.now.as_str())).collect();
        assert_eq!(
            told,
            [("url", Some("http://mine/"), "http://theirs/"), ("timeout", None, "9s")]
        );
        assert_eq!(
            ["url", "mode", "timeout"].map(|path| typed.text(path)),
            ["http://mine/", "smart", "9s"]
        );
    }
}
