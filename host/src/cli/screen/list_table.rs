//! The table of a list, with short ids, ages instead of times, and states with a sign and a colour.

use comfy_table::{
    Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, presets,
};
use serde_json::Value;

use super::age::relative_time;
use super::short_id::{shorten_ids, split_id};
use super::state::{ScreenTone, delivery_state};
use super::{ListColumn, NARROW, ScreenLook};
use crate::time::timestamp::Timestamp;

/// A list of JSON objects as a table.
pub struct ListTable<'a> {
    pub columns: &'a [ListColumn],
    pub values: &'a [Value],
    pub look: ScreenLook,
}

/// The kind of values in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ColumnContent {
    Id,
    Time,
    State,
    Number,
    Text,
}

impl ListTable<'_> {
    /// Returns the lines of the table, with ages relative to `now`.
    pub fn lines(&self, now: Timestamp) -> Vec<String> {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_truncation_indicator("…");
        let is_narrow = table.width().is_some_and(|width| width < NARROW);
        table.set_content_arrangement(if is_narrow || self.look.is_wide {
            ContentArrangement::Disabled
        } else {
            ContentArrangement::Dynamic
        });
        if self.look.has_color {
            table.enforce_styling();
        }
        let kinds: Vec<ColumnContent> =
            self.columns.iter().map(|column| self.kind(column)).collect();
        table.set_header(self.columns.iter().map(|(heading, _)| self.dim(heading)));
        let cells: Vec<Vec<Cell>> = self
            .columns
            .iter()
            .zip(&kinds)
            .map(|(column, kind)| self.column_cells(column, *kind, now))
            .collect();
        table.add_rows(self.rows(cells));
        for (column, kind) in table.column_iter_mut().zip(&kinds) {
            column.set_padding((0, 2));
            if *kind != ColumnContent::Text {
                // Ids, times, counts and states are never cut.
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
            if *kind == ColumnContent::Number {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.to_string().lines().map(str::to_owned).collect()
    }

    /// Returns the rows of these columns. A line is cut rather than wrapped, unless nothing may be
    /// cut.
    fn rows(&self, columns: Vec<Vec<Cell>>) -> Vec<Row> {
        let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
        let mut rows = Vec::with_capacity(self.values.len());
        for _ in self.values {
            let mut row = Row::from(columns.iter_mut().filter_map(Iterator::next));
            if !self.look.is_wide {
                row.max_height(1);
            }
            rows.push(row);
        }
        rows
    }

    /// Determines the kind of a column from the place and form of its values.
    fn kind(&self, (_, paths): &ListColumn) -> ColumnContent {
        let mut found = self.values.iter().filter_map(|value| first(value, paths)).peekable();
        if found.peek().is_none() {
            return ColumnContent::Text;
        }
        let is_at = |ends: &[&str]| paths.iter().any(|path| ends.iter().any(|e| path.ends_with(e)));
        if is_at(&["/id"]) {
            return ColumnContent::Id;
        }
        if is_at(&["_at", "/at"]) {
            return ColumnContent::Time;
        }
        if is_at(&["/status", "/enabled", "/answers", "/active"]) {
            return ColumnContent::State;
        }
        if found.all(Value::is_number) { ColumnContent::Number } else { ColumnContent::Text }
    }

    fn column_cells(
        &self,
        (_, paths): &ListColumn,
        kind: ColumnContent,
        now: Timestamp,
    ) -> Vec<Cell> {
        let found = self.values.iter().map(|value| first(value, paths));
        match kind {
            ColumnContent::Id => {
                let ids: Vec<String> = found.map(|id| id.map(inline).unwrap_or_default()).collect();
                let shown = if self.look.is_wide { ids } else { shorten_ids(&ids) };
                shown.iter().map(|id| self.dim(id)).collect()
            }
            ColumnContent::Time => found
                .map(|time| Cell::new(time.map(|t| self.time(t, now)).unwrap_or_default()))
                .collect(),
            ColumnContent::State => self
                .values
                .iter()
                .zip(found)
                .map(|(value, state)| self.state(value, state))
                .collect(),
            ColumnContent::Number | ColumnContent::Text => {
                let text = |value: Option<&Value>| value.map(|v| self.text(v)).unwrap_or_default();
                found.map(|value| Cell::new(text(value))).collect()
            }
        }
    }

    /// Formats a value in one line. An id in the place of a name is shortened too.
    fn text(&self, value: &Value) -> String {
        // A sender's text must not control the terminal.
        let text = inline(value).replace(char::is_control, " ");
        if self.look.is_wide || split_id(&text).is_none() {
            return text;
        }
        shorten_ids(&[text]).pop().unwrap_or_default()
    }

    fn time(&self, value: &Value, now: Timestamp) -> String {
        let text = inline(value);
        match Timestamp::parse(&text) {
            Ok(time) if !self.look.is_exact => relative_time(time, now),
            Ok(_) | Err(_) => text,
        }
    }

    fn state(&self, row: &Value, value: Option<&Value>) -> Cell {
        let look = self.look;
        match value {
            None => Cell::new(""),
            Some(Value::Bool(false)) => ScreenTone::Quiet.cell("no".to_owned(), look),
            Some(Value::Number(status)) => {
                let tone = match status.as_u64().unwrap_or_default() {
                    ..400 => return Cell::new(status),
                    400..500 => ScreenTone::Warning,
                    _ => ScreenTone::Bad,
                };
                tone.cell(status.to_string(), look)
            }
            Some(other) => {
                let text = inline(other);
                let attempts = row.get("attempt_count").and_then(Value::as_u64).unwrap_or_default();
                match delivery_state(&text, attempts, look) {
                    Some((tone, text)) => tone.cell(text, look),
                    None => Cell::new(text),
                }
            }
        }
    }

    fn dim(&self, text: &str) -> Cell {
        let cell = Cell::new(text);
        if self.look.has_color { cell.add_attribute(Attribute::Dim) } else { cell }
    }
}

/// Returns the first value found at the paths.
fn first<'v>(value: &'v Value, paths: &[&str]) -> Option<&'v Value> {
    paths.iter().find_map(|path| value.pointer(path).filter(|found| !found.is_null()))
}

fn inline(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(inline).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            members.get("name").map_or_else(|| Value::Object(members.clone()).to_string(), inline)
        }
    }
}
