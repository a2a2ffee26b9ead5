//! Draws a form: its errors and its sections.

use super::draw_fields::{draw_field, draw_messages, id_of};
use super::form_fields::{FieldShape, FormField, label_of};
use super::form_values::FormValues;
use super::{FormKind, SettingsForm};
use crate::admin::call::PageCall;
use crate::admin::layout::draw_form_key;
use crate::admin::signs::draw_icon;
use crate::admin::texts::draw_prose;
use crate::model::fault::InputFault;
use maud::{Markup, html};
use std::collections::BTreeMap;

/// The name of the button that asks for more rows.
pub const MORE: &str = "more_rows";
/// The name of the field for the secret.
pub const SECRET: &str = "secret";
/// The name of the field with the tag of the settings from which the form was made.
pub const TAG: &str = "state_tag";
/// The name of the field with the form's original content.
pub const WAS: &str = "state_was";

/// The content of a form.
#[derive(Debug, Default)]
pub struct FormState {
    pub fields: Vec<FormField>,
    pub values: FormValues,
    pub faults: Vec<InputFault>,
    /// The problem with the whole form, beside the errors of its fields.
    pub problem: Option<String>,
    /// The form's original content, and the tag of that state. `None` for a new object.
    pub known: Option<(FormValues, String)>,
    /// Notes at fields, such as that another request changed a field.
    pub notes: BTreeMap<String, String>,
    pub wants_rows: bool,
    /// Fields that are not shown and come back unchanged.
    pub hidden: Vec<(&'static str, String)>,
}

impl FormState {
    /// Returns the errors at a path and below it.
    pub fn faults_at(&self, path: &str) -> Vec<&InputFault> {
        let belongs = |fault: &&InputFault| {
            let rest = fault.path.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.faults.iter().filter(belongs).collect()
    }

    /// Returns the field of an error, or the first field of the part that the error is about.
    fn field_of(&self, fault: &InputFault) -> Option<String> {
        let is_inside = |outer: &str, inner: &str| {
            let rest = inner.strip_prefix(outer);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let own = self.fields.iter().filter(|field| is_inside(&field.path, &fault.path));
        let own = own.max_by_key(|field| field.path.len());
        let part = || self.fields.iter().find(|field| is_inside(&fault.path, &field.path));
        if fault.path == SECRET {
            return Some(SECRET.to_owned());
        }
        let field = own
            .or_else(|| Some(fault).filter(|fault| !fault.path.is_empty()).and_then(|_| part()))?;
        let FieldShape::Rows(columns) = &field.shape else { return Some(field.path.clone()) };
        let in_rows = (0..self.values.rows(&field.path))
            .flat_map(|n| columns.iter().map(move |column| column.in_row(&field.path, n).path));
        let cell = in_rows.filter(|path| is_inside(path, &fault.path)).max_by_key(String::len);
        Some(cell.unwrap_or_else(|| field.path.clone()))
    }
}

/// Draws the whole form.
pub fn draw_form<R: SettingsForm>(
    call: &PageCall,
    state: &FormState,
    action: &str,
    (does, back): (&str, &str),
) -> Markup {
    html! {
        form method="post" action=(action) class="stack" {
            (draw_form_key(call))
            // Pressing Enter activates the first button, so the form begins with a hidden one that
            // saves.
            button class="vh" type="submit" tabindex="-1" aria-hidden="true" { (does) }
            @for (name, text) in &state.hidden { input type="hidden" name=(name) value=(text); }
            @if let Some((was, tag)) = &state.known {
                input type="hidden" name=(TAG) value=(tag);
                input type="hidden" name=(WAS) value=(serde_json::to_string(was).unwrap_or_default());
            }
            (draw_faults(state))
            section class="panel" aria-label="Settings" {
                div class="in" {
                    @for (n, section) in sections_of(&R::FORM, &state.fields).iter().enumerate() {
                        (draw_section::<R>(state, section, n >= R::FORM.open_sections))
                    }
                }
            }
            div class="row" {
                button class="btn main" type="submit" { (does) }
                a class="btn bare" href=(back) { "Cancel" }
            }
        }
    }
}

/// A section with its fields: its title, a sentence about it, and the fields.
type SectionFields<'f> = (&'static str, &'static str, Vec<&'f FormField>);

/// Returns the sections that have fields. Fields that no section names get a section of their own.
fn sections_of<'f>(kind: &FormKind, fields: &'f [FormField]) -> Vec<SectionFields<'f>> {
    let mut sections = Vec::new();
    for (title, sentence, parts) in kind.sections {
        let own = parts.iter().flat_map(|part| fields.iter().filter(move |f| f.top() == *part));
        sections.push((*title, *sentence, own.collect::<Vec<_>>()));
    }
    let is_placed =
        |field: &&FormField| kind.sections.iter().any(|(_, _, parts)| parts.contains(&field.top()));
    let others = fields.iter().filter(|field| !is_placed(field)).collect();
    sections.push(("More", "", others));
    sections.retain(|(_, _, fields)| !fields.is_empty());
    sections
}

fn draw_faults(state: &FormState) -> Markup {
    let has_faults = !state.faults.is_empty() || state.problem.is_some();
    html! {
        @if has_faults {
            div class="note bad" role="alert" {
                (draw_icon("bad"))
                div class="stack-s" {
                    b { "Nothing was saved. " @if let Some(problem) = &state.problem { (problem) } }
                    @if !state.faults.is_empty() {
                        ul {
                            @for fault in &state.faults {
                                li {
                                    @match state.field_of(fault) {
                                        Some(path) => a href={ "#" (id_of(&path)) } { (tell_place(fault)) },
                                        None => (tell_place(fault)),
                                    }
                                    (draw_prose(&fault.message))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn tell_place(fault: &InputFault) -> String {
    if fault.path.is_empty() { String::new() } else { format!("{}: ", fault.path) }
}

/// Draws a section. One that folds is open only if somebody has changed it or something is wrong in
/// it.
fn draw_section<R: SettingsForm>(
    state: &FormState,
    (title, sentence, fields): &SectionFields<'_>,
    folds: bool,
) -> Markup {
    let kind = &R::FORM;
    let is_here =
        kind.sections.iter().any(|(known, _, parts)| known == title && parts.contains(&SECRET));
    let is_used =
        kind.secret_used_by.is_none_or(|path| state.fields.iter().any(|field| field.path == path));
    let hint = kind.secret_hint.filter(|_| is_here && is_used);
    let heading = html! { h2 { (title) } p { (sentence) } };
    let content = html! {
        div class="fields" {
            (draw_groups(state, fields))
            @if let Some(hint) = hint { (draw_secret(state, hint)) }
        }
    };
    html! {
        @if folds {
            details class="form-fold" open[is_touched::<R>(state, fields)] {
                summary { div { (heading) } }
                div class="form-sec" { (content) }
            }
        } @else {
            section class="form-sec" aria-label=(title) { div { (heading) } (content) }
        }
    }
}

/// Whether a field differs from that of a new object, or needs a look.
fn is_touched<R: SettingsForm>(state: &FormState, fields: &[&FormField]) -> bool {
    let kind = state.values.text("kind");
    let usual = R::starting_settings(Some(kind).filter(|kind| !kind.is_empty()));
    let usual = FormValues::of_settings(&state.fields, &usual);
    fields.iter().any(|field| {
        needs_look(state, field) || state.values.tell(&field.path) != usual.tell(&field.path)
    })
}

fn needs_look(state: &FormState, field: &FormField) -> bool {
    !state.faults_at(&field.path).is_empty() || state.notes.contains_key(&field.path)
}

/// Returns the part to which a field belongs: `webhook.hmac` for `webhook.hmac.header`.
fn group_of(field: &FormField) -> Option<&str> {
    let (group, _) = field.path.rsplit_once('.')?;
    group.contains('.').then_some(group)
}

/// Draws the fields of a section, then its parts. A part is folded while it is empty, because most
/// of a kind's parts exclude each other.
fn draw_groups(state: &FormState, fields: &[&FormField]) -> Markup {
    let tops: Vec<&str> = fields.iter().map(|field| field.top()).collect();
    // What all fields of a section have in common is in its title.
    let is_common = tops.len() > 1 && tops.iter().all(|top| Some(top) == tops.first());
    let shown = |field: &FormField, outer: Option<&str>| {
        let outer = outer.or_else(|| is_common.then(|| field.top()));
        let inner = outer.and_then(|outer| field.path.strip_prefix(outer)?.strip_prefix('.'));
        let label = inner.map_or_else(|| field.label.clone(), label_of);
        // The labels of a kind's own settings are made from their own names.
        let label = if field.top() == "settings" { field.label.clone() } else { label };
        draw_field(state, &FormField { label, ..field.clone() })
    };
    let mut groups: Vec<&str> = Vec::new();
    for group in fields.iter().filter_map(|field| group_of(field)) {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    html! {
        @for field in fields.iter().filter(|field| group_of(field).is_none()) {
            (shown(field, None))
        }
        @for group in groups {
            @let own: Vec<&&FormField> =
                fields.iter().filter(|field| group_of(field) == Some(group)).collect();
            @let is_open = own.iter().any(|field| {
                needs_look(state, field) || !state.values.tell(&field.path).is_empty()
            });
            details class="full part" open[is_open] {
                summary { (label_of(group.split_once('.').map_or(group, |(_, part)| part))) }
                div class="fields" { @for field in own { (shown(field, Some(group))) } }
            }
        }
    }
}

/// Draws the field for a secret. A secret that was typed is never sent back to the page.
fn draw_secret(state: &FormState, hint: &str) -> Markup {
    let faults = state.faults_at(SECRET);
    let id = id_of(SECRET);
    html! {
        div class={ "field full" @if !faults.is_empty() { " wrong" } } {
            label for=(id) { "Secret" }
            input id=(id) name=(SECRET) type="password" autocomplete="new-password"
                aria-describedby={ (id) "-h" } aria-invalid=[(!faults.is_empty()).then_some("true")];
            (draw_messages(&id, &faults))
            p class="hint" id={ (id) "-h" } {
                (hint)
                @if state.problem.is_some() || !state.faults.is_empty() {
                    " If you typed a secret, type it again."
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::editor::form_fields::fields_of;
    use crate::model::flow::FlowSettings;

    #[test]
    fn an_error_links_to_its_field_or_the_first_field_of_its_part() {
        let fields = fields_of::<crate::model::endpoint::EndpointSettings>();
        let state = FormState { fields, ..FormState::default() };
        let place = |path: &str| state.field_of(&InputFault::new(path, ""));
        assert_eq!(place("retry.schedule[3]").as_deref(), Some("retry.schedule"));
        assert_eq!(place("headers.x-key").as_deref(), Some("headers"));
        assert_eq!(place("rate_limit").as_deref(), Some("rate_limit.per_second"));
        assert_eq!(place("secret").as_deref(), Some("secret"));
        assert_eq!(place(""), None);
    }

    #[test]
    fn an_error_in_a_row_links_to_its_cell() {
        let fields = fields_of::<FlowSettings>();
        let settings = serde_json::json!({"modules": [{"name": "a"}, {"name": "b"}]});
        let values = FormValues::of_settings(&fields, &settings);
        let state = FormState { fields, values, ..FormState::default() };
        let fault = InputFault::new("modules[1].config.key", "");
        assert_eq!(state.field_of(&fault).as_deref(), Some("modules[1].config"));
    }
}
