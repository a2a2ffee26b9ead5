//! Draws the fields of a form, each with its label, its hint and its errors.

use super::draw_form::{FormState, MORE};
use super::form_fields::{FieldShape, FormField};
use crate::admin::signs::draw_icon;
use crate::admin::texts::draw_prose;
use crate::model::fault::InputFault;
use maud::{Markup, html};

/// Empty rows that a list of objects offers beside the filled ones.
const SPARE_ROWS: usize = 1;
/// Empty rows after a person asked for more.
const MORE_ROWS: usize = 5;
/// Returns the id of a field in the page.
pub fn id_of(path: &str) -> String {
    let letters = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    format!("f-{}", letters.collect::<String>())
}

/// Draws the errors of a field.
pub fn draw_messages(id: &str, faults: &[&InputFault]) -> Markup {
    html! {
        @for (n, fault) in faults.iter().enumerate() {
            p class="error" id={ (id) "-e" (n) } { (draw_icon("bad")) span { (draw_prose(&fault.message)) } }
        }
    }
}

/// Draws a field with its hint and its errors.
pub fn draw_field(state: &FormState, field: &FormField) -> Markup {
    if let FieldShape::Rows(columns) = &field.shape {
        return draw_rows(state, field, columns);
    }
    let faults = state.faults_at(&field.path);
    let id = id_of(&field.path);
    let is_wide = !matches!(
        field.shape,
        FieldShape::Text | FieldShape::Number | FieldShape::Switch | FieldShape::Choice(_)
    ) || is_long(state, field);
    let note = state.notes.get(&field.path);
    html! {
        div class={ "field" @if is_wide { " full" } @if !faults.is_empty() { " wrong" } } {
            (draw_input(state, field, &id, !faults.is_empty()))
            (draw_messages(&id, &faults))
            @if let Some(note) = note { p class="hint warn" { (note) } }
            p class="hint" id={ (id) "-h" } { (draw_prose(&tell_hint(state, field))) }
        }
    }
}

/// Whether a text needs several lines.
fn is_long(state: &FormState, field: &FormField) -> bool {
    let text = state.values.text(&field.path);
    field.shape == FieldShape::Text
        && (field.path.ends_with("where")
            || field.path.ends_with("certificate")
            || text.contains('\n'))
}

fn tell_hint(state: &FormState, field: &FormField) -> String {
    let how = match &field.shape {
        FieldShape::Lines => " One on each line.",
        FieldShape::Pairs => " One on each line, as name: text.",
        FieldShape::Json => " As JSON.",
        FieldShape::Text if state.values.text(&field.path) == "\"\"" => {
            " Two quotation marks (\"\") stand for an empty text."
        }
        FieldShape::Text
        | FieldShape::Number
        | FieldShape::Switch
        | FieldShape::Choice(_)
        | FieldShape::Several(_)
        | FieldShape::Rows(_) => "",
    };
    let example = field.example.as_deref().map(|example| example.replace('\n', ", "));
    let example = example.map(|example| format!(" Such as {example}")).unwrap_or_default();
    format!("{}{how}{example}", field.hint)
}

fn draw_input(state: &FormState, field: &FormField, id: &str, is_wrong: bool) -> Markup {
    let (path, text) = (&field.path, state.values.text(&field.path));
    let described = if is_wrong { format!("{id}-e0 {id}-h") } else { format!("{id}-h") };
    let invalid = is_wrong.then_some("true");
    match &field.shape {
        FieldShape::Switch => html! {
            input type="hidden" name=(path) value="false";
            label class="check" {
                input id=(id) type="checkbox" name=(path) value="true" checked[text == "true"]
                    aria-describedby=(described) aria-invalid=[invalid];
                (field.label)
            }
        },
        FieldShape::Several(values) => draw_several(state, field, values, id),
        FieldShape::Choice(values) => html! {
            label for=(id) { (field.label) }
            select id=(id) name=(path) aria-describedby=(described) aria-invalid=[invalid] {
                // A value that has a default is never empty, so nothing needs to stand for that.
                @if field.is_nullable || text.is_empty() {
                    option value="" selected[text.is_empty()] {
                        @if field.is_required { "choose one" } @else { "not set" }
                    }
                }
                @if !text.is_empty() && !values.iter().any(|value| value == text) {
                    option value=(text) selected { (text) }
                }
                @for value in values {
                    option value=(value) selected[value == text] { (value) }
                }
            }
        },
        FieldShape::Lines | FieldShape::Pairs | FieldShape::Json => {
            draw_area(field, text, id, (&described, invalid))
        }
        FieldShape::Text if is_long(state, field) => {
            draw_area(field, text, id, (&described, invalid))
        }
        FieldShape::Text | FieldShape::Number | FieldShape::Rows(_) => html! {
            label for=(id) { (field.label) }
            input id=(id) name=(path) value=(text) autocomplete="off" spellcheck="false"
                required[field.is_required] aria-describedby=(described) aria-invalid=[invalid]
                inputmode=[(field.shape == FieldShape::Number).then_some("decimal")];
        },
    }
}

fn draw_area(
    field: &FormField,
    text: &str,
    id: &str,
    (described, invalid): (&str, Option<&str>),
) -> Markup {
    let lines = text.lines().count().clamp(2, 12);
    html! {
        label for=(id) { (field.label) }
        textarea id=(id) name=(field.path) rows=(lines) spellcheck="false" autocomplete="off"
            aria-describedby=(described) aria-invalid=[invalid] {
            // A browser removes a leading line break, so one is added.
            "\n" (text)
        }
    }
}

/// Draws a box for each offered value. A current value that is not offered keeps its box.
fn draw_several(state: &FormState, field: &FormField, values: &[String], id: &str) -> Markup {
    let chosen = state.values.all(&field.path);
    let others = chosen.iter().filter(|text| !values.contains(text));
    html! {
        fieldset class="boxes" id=(id) tabindex="-1" aria-describedby={ (id) "-h" } {
            legend class="label" { (field.label) }
            @for value in others.chain(values) {
                label class="check" {
                    input type="checkbox" name=(field.path) value=(value)
                        checked[chosen.contains(value)];
                    span class="cut" { (value) }
                }
            }
            @if values.is_empty() && chosen.is_empty() { p class="hint" { "There are none yet." } }
        }
    }
}

/// Draws a list of objects: the existing ones, and empty rows.
fn draw_rows(state: &FormState, field: &FormField, columns: &[FormField]) -> Markup {
    let id = id_of(&field.path);
    let filled = state.values.rows(&field.path);
    let spare = if state.wants_rows { MORE_ROWS } else { SPARE_ROWS };
    let is_own = |fault: &&&InputFault| !fault.path.trim_end_matches(']').contains("].");
    let faults: Vec<&InputFault> =
        state.faults_at(&field.path).iter().filter(is_own).copied().collect();
    html! {
        fieldset class="rows full" id=(id) tabindex="-1" {
            legend class="label" { (field.label) }
            (draw_messages(&id, &faults))
            @if let Some(note) = state.notes.get(&field.path) { p class="hint warn" { (note) } }
            p class="hint" { (draw_prose(&field.hint)) " Empty rows are ignored." }
            @for n in 0..filled + spare {
                fieldset class="fields one-row" {
                    legend class="hint" {
                        (n + 1) @if n >= filled { ", to be added" }
                    }
                    @for column in columns {
                        @let cell = column.in_row(&field.path, n);
                        // An empty row may stay empty.
                        @let is_required = cell.is_required && n < filled;
                        (draw_field(state, &FormField { is_required, ..cell }))
                    }
                }
            }
            button class="btn small" type="submit" name=(MORE) value=(field.path) formnovalidate {
                "More rows"
            }
        }
    }
}
