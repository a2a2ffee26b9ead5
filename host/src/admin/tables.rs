//! Tables, including the table of an object's settings.

use crate::api::problem::ApiProblem;
use maud::{Markup, html};
use serde::Serialize;
use serde_json::Value;

/// A column: its title, and whether it contains numbers.
pub type TableColumn = (&'static str, bool);

/// Draws a table whose rows fold on a phone. In some browsers, folding removes the meaning of rows
/// and cells, so their roles are explicit.
pub fn draw_table(caption: &str, class: &str, columns: &[TableColumn], rows: &Markup) -> Markup {
    html! {
        table role="table" class={ "t fold " (class) } {
            caption class="vh" { (caption) }
            thead role="rowgroup" {
                tr role="row" {
                    @for (title, is_number) in columns {
                        th role="columnheader" scope="col" class=[is_number.then_some("num")] {
                            @if title.is_empty() { span class="vh" { "Action" } } @else { (title) }
                        }
                    }
                }
            }
            tbody role="rowgroup" { (rows) }
        }
    }
}

/// Draws a row of [`draw_table`].
pub fn draw_row(cells: &Markup) -> Markup {
    html! { tr role="row" { (cells) } }
}

/// Draws a cell of [`draw_row`].
pub fn draw_cell(class: &str, content: &Markup) -> Markup {
    html! { td role="cell" class=(class) { (content) } }
}

/// Draws a cell with a label that is shown when the table is folded.
pub fn draw_labelled_cell(class: &str, label: &str, content: &Markup) -> Markup {
    html! { td role="cell" class=(class) data-l=(label) { (content) } }
}

/// Most rows of a table of settings.
const MOST_SETTINGS: usize = 200;

/// Draws settings, one field on each row. The caller must have masked private values.
pub fn draw_settings<S: Serialize>(settings: &S) -> Result<Markup, ApiProblem> {
    let value = serde_json::to_value(settings).map_err(|error| ApiProblem::unexpected(&error))?;
    let mut rows = Vec::new();
    list_fields("", &value, &mut rows);
    rows.truncate(MOST_SETTINGS);
    Ok(html! {
        table class="t pair" {
            caption class="vh" { "Settings" }
            thead class="vh" { tr { th scope="col" { "Setting" } th scope="col" { "Value" } } }
            tbody {
                @for (name, text) in &rows { tr { td { code { (name) } } td { code { (text) } } } }
            }
        }
    })
}

/// Lists the fields of a value with their paths, such as `retry.schedule`.
fn list_fields(path: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                list_fields(&path, value, rows);
            }
        }
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let texts: Vec<String> = items.iter().map(tell_value).collect();
            let text = if texts.is_empty() { "none".to_owned() } else { texts.join(", ") };
            rows.push((path.to_owned(), text));
        }
        Value::Array(items) => {
            for (n, value) in items.iter().enumerate() {
                list_fields(&format!("{path}[{n}]"), value, rows);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            rows.push((path.to_owned(), tell_value(value)));
        }
    }
}

fn tell_value(value: &Value) -> String {
    match value {
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Null => "not set".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_settings_have_paths() {
        let mut rows = Vec::new();
        let settings = json!({"retry": {"schedule": ["1m", "5m"]}, "enabled": true, "modules": [{"name": "a"}]});
        list_fields("", &settings, &mut rows);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            rows,
            [
                pair("retry.schedule", "1m, 5m"),
                pair("enabled", "yes"),
                pair("modules[0].name", "a")
            ]
        );
    }
}
