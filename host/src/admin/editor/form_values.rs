//! The contents of a form's fields, and the settings that they describe.

use super::form_fields::{FieldShape, FormField, put_at, value_at};
use crate::admin::forms::FormFields;
use crate::model::fault::InputFault;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;

/// Most rows of a list of objects.
const MOST_ROWS: usize = 64;
/// How a person writes an empty text, because an empty field means "not set".
const EMPTY_TEXT: &str = "\"\"";
/// How a person writes an empty list.
const EMPTY_LIST: &str = "[]";

/// The texts in the fields of a form, by the paths of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormValues(BTreeMap<String, Vec<String>>);

impl FormValues {
    /// Returns the texts for settings.
    pub fn of_settings(fields: &[FormField], settings: &Value) -> Self {
        let mut values = Self::default();
        for field in fields {
            values.take_value(field, value_at(settings, &field.path));
        }
        values
    }

    fn take_value(&mut self, field: &FormField, value: Option<&Value>) {
        let Some(value) = value.filter(|value| !value.is_null()) else { return };
        if let FieldShape::Rows(columns) = &field.shape {
            for (n, row) in value.as_array().into_iter().flatten().enumerate().take(MOST_ROWS) {
                for column in columns {
                    self.take_value(&column.in_row(&field.path, n), value_at(row, &column.path));
                }
            }
            return;
        }
        self.0.insert(field.path.clone(), write_value(field, value));
    }

    /// Empties the fields that must be filled in and still hold an empty text. In a form for a new
    /// object they are what a person has not typed yet.
    #[must_use]
    pub fn without_empty(mut self, fields: &[FormField]) -> Self {
        for field in fields.iter().filter(|field| field.is_required) {
            if self.text(&field.path) == EMPTY_TEXT {
                self.0.remove(&field.path);
            }
        }
        self
    }

    /// Reads the texts that a browser sent. Empty rows are left out, and line ends are converted to
    /// `\n`.
    pub fn of_form(fields: &[FormField], form: &FormFields) -> Self {
        let mut values = Self::default();
        for field in fields {
            let FieldShape::Rows(columns) = &field.shape else {
                values.take_texts(field, form, &field.path);
                continue;
            };
            let mut next = 0;
            for n in 0..MOST_ROWS {
                let given = |column: &FormField| column.in_row(&field.path, n);
                if !columns.iter().any(|column| !texts_of(&given(column), form).is_empty()) {
                    continue;
                }
                for column in columns {
                    let path = given(column).path;
                    values.take_texts(&column.in_row(&field.path, next), form, &path);
                }
                next += 1;
            }
        }
        values
    }

    fn take_texts(&mut self, field: &FormField, form: &FormFields, sent_as: &str) {
        let sent = FormField { path: sent_as.to_owned(), ..field.clone() };
        let texts = texts_of(&sent, form);
        if !texts.is_empty() {
            self.0.insert(field.path.clone(), texts);
        }
    }

    /// Returns the text of a field, or an empty text.
    pub fn text(&self, path: &str) -> &str {
        self.all(path).first().map_or("", String::as_str)
    }

    /// Returns all texts of a field with several choices.
    pub fn all(&self, path: &str) -> &[String] {
        self.0.get(path).map_or(&[], Vec::as_slice)
    }

    /// Returns the number of rows in a list.
    pub fn rows(&self, list: &str) -> usize {
        let is_row = |n: &usize| {
            let start = format!("{list}[{n}].");
            self.0.keys().any(|path| path.starts_with(&start))
        };
        (0..MOST_ROWS).take_while(is_row).count()
    }

    /// Returns the content of a field or of its rows as one text.
    pub fn tell(&self, path: &str) -> String {
        let rows = format!("{path}[");
        let own = self.0.iter().filter(|(known, _)| *known == path || known.starts_with(&rows));
        let texts = own.map(|(known, texts)| {
            let text = texts.join(", ");
            let place = known.strip_prefix(path).unwrap_or_default();
            if place.is_empty() { text } else { format!("{place} {text}") }
        });
        texts.collect::<Vec<_>>().join("\n")
    }

    /// Copies the content of a field from another form.
    pub fn take_from(&mut self, other: &Self, path: &str) {
        let rows = format!("{path}[");
        let is_own = |known: &str| known == path || known.starts_with(&rows);
        self.0.retain(|known, _| !is_own(known));
        let own = other.0.iter().filter(|(known, _)| is_own(known));
        self.0.extend(own.map(|(known, texts)| (known.clone(), texts.clone())));
    }

    /// Returns the settings that the form describes, without empty fields, and everything that is
    /// wrong.
    pub fn read(&self, fields: &[FormField]) -> (Map<String, Value>, Vec<InputFault>) {
        let (mut settings, mut faults) = (Map::new(), Vec::new());
        for field in fields {
            match self.read_field(field, &mut faults) {
                Some(value) => put_at(&mut settings, &field.path, value),
                None if field.is_required => {
                    let is_known = faults.iter().any(|fault: &InputFault| fault.path == field.path);
                    if !is_known {
                        faults.push(InputFault::new(&*field.path, "is empty; fill it in"));
                    }
                }
                None => {}
            }
        }
        (settings, faults)
    }

    fn read_field(&self, field: &FormField, faults: &mut Vec<InputFault>) -> Option<Value> {
        if let FieldShape::Rows(columns) = &field.shape {
            let rows = self.rows(&field.path);
            let read = (0..rows).map(|n| self.read_row(columns, &field.path, n, faults));
            let read: Vec<Value> = read.collect();
            return (rows > 0).then_some(Value::Array(read));
        }
        let texts = self.all(&field.path);
        let read = read_texts(field, texts);
        read.unwrap_or_else(|message| {
            faults.push(InputFault::new(&*field.path, message));
            None
        })
    }

    fn read_row(
        &self,
        columns: &[FormField],
        list: &str,
        row: usize,
        faults: &mut Vec<InputFault>,
    ) -> Value {
        let mut object = Map::new();
        for column in columns {
            let field = column.in_row(list, row);
            match self.read_field(&field, faults) {
                Some(value) => put_at(&mut object, &column.path, value),
                None if column.is_required => {
                    faults.push(InputFault::new(field.path, "is empty; fill it in"));
                }
                None => {}
            }
        }
        Value::Object(object)
    }
}

/// Returns the texts that a browser sent for a field. Empty if all of them are empty.
fn texts_of(field: &FormField, form: &FormFields) -> Vec<String> {
    let all = form.all(&field.path).into_iter().map(|text| text.replace("\r\n", "\n"));
    let mut texts: Vec<String> = all.filter(|text| !text.trim().is_empty()).collect();
    // Before each switch the form has a hidden field with `false`.
    if field.shape == FieldShape::Switch && texts.len() > 1 {
        texts = texts.split_off(texts.len() - 1);
    }
    texts
}

/// Returns how a value is written in a field.
fn write_value(field: &FormField, value: &Value) -> Vec<String> {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match (&field.shape, value) {
        (FieldShape::Several(_), Value::Array(items)) => items.iter().map(plain).collect(),
        (FieldShape::Lines, Value::Array(items)) if items.is_empty() => {
            let shown = field.is_nullable.then(|| EMPTY_LIST.to_owned());
            shown.into_iter().collect()
        }
        (FieldShape::Lines, Value::Array(items)) => {
            vec![items.iter().map(plain).collect::<Vec<_>>().join("\n")]
        }
        (FieldShape::Pairs, Value::Object(pairs)) => {
            let lines = pairs.iter().map(|(name, value)| format!("{name}: {}", plain(value)));
            Some(lines.collect::<Vec<_>>().join("\n"))
                .filter(|text| !text.is_empty())
                .into_iter()
                .collect()
        }
        (FieldShape::Json, _) => vec![serde_json::to_string_pretty(value).unwrap_or_default()],
        (_, Value::String(text)) if text.is_empty() => vec![EMPTY_TEXT.to_owned()],
        (_, _) => vec![plain(value)],
    }
}

/// Reads the content of a field. Returns `None` if the field is empty.
fn read_texts(field: &FormField, texts: &[String]) -> Result<Option<Value>, String> {
    let raw = texts.first().map_or("", String::as_str);
    let text = if field.keeps_spaces() { raw } else { raw.trim() };
    if let FieldShape::Several(_) = field.shape {
        let chosen: Vec<Value> = texts.iter().map(|text| text.trim().into()).collect();
        return Ok((!chosen.is_empty()).then_some(Value::Array(chosen)));
    }
    if text.is_empty() {
        return Ok(None);
    }
    match field.shape {
        FieldShape::Number => {
            let number: Result<Number, _> = text.parse();
            number
                .map(|number| Some(Value::Number(number)))
                .map_err(|_not_one| "is not a number".to_owned())
        }
        FieldShape::Switch => Ok(read_switch(field, text)),
        FieldShape::Lines if text == EMPTY_LIST => Ok(Some(Value::Array(Vec::new()))),
        FieldShape::Lines => {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            Ok(Some(lines.map(Value::from).collect()))
        }
        FieldShape::Pairs => read_pairs(text).map(|pairs| Some(Value::Object(pairs))),
        FieldShape::Json => {
            serde_json::from_str(text).map(Some).map_err(|error| format!("is not JSON: {error}"))
        }
        FieldShape::Text | FieldShape::Choice(_) if text == EMPTY_TEXT => Ok(Some("".into())),
        FieldShape::Text | FieldShape::Choice(_) | FieldShape::Several(_) | FieldShape::Rows(_) => {
            Ok(Some(text.into()))
        }
    }
}

/// Reads a switch. A `false` does not create an object that was left out.
fn read_switch(field: &FormField, text: &str) -> Option<Value> {
    let is_on = text == "true";
    (is_on || !field.path.contains('.')).then_some(Value::Bool(is_on))
}

fn read_pairs(text: &str) -> Result<Map<String, Value>, String> {
    let mut pairs = Map::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let pair = line.split_once(": ").or_else(|| line.split_once(':'));
        let (name, value) = pair.ok_or_else(|| {
            "a line is not of the form `name: text`; write a colon between name and text".to_owned()
        })?;
        if pairs.insert(name.trim().to_owned(), value.trim().into()).is_some() {
            return Err(format!("has `{}` twice; remove one of them", name.trim()));
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::editor::form_fields::fields_of;
    use crate::model::endpoint::EndpointSettings;
    use crate::model::flow::FlowSettings;
    use serde_json::json;

    fn form(pairs: &[(&str, &str)]) -> FormFields {
        FormFields::of_texts(pairs.iter().map(|(name, text)| ((*name).into(), (*text).into())))
    }

    #[test]
    fn settings_survive_a_round_trip() {
        let fields = fields_of::<EndpointSettings>();
        let settings = json!({
            "name": "erp", "url": "https://erp.example/", "events": ["a.b", "c.*"], "mode": "async",
            "headers": {"x-key": "***"}, "signing": ["standard"], "envelope": "waybill",
            "field_map": {"exclude": ["a.b"]}, "retry": {"schedule": ["1m"], "jitter": 0.5},
            "rate_limit": {"per_second": 2.5, "burst": 3}, "max_in_flight": 4, "smart": {},
            "ordered": true, "on_gone": "retry", "enabled": false, "where": "data.a == \"b\""
        });
        let values = FormValues::of_settings(&fields, &settings);
        let (mut read, faults) = values.read(&fields);
        assert_eq!(faults, []);
        read.insert("smart".to_owned(), json!({}));
        assert_eq!(Value::Object(read), settings);
    }

    #[test]
    fn errors_name_their_fields() {
        let fields = fields_of::<EndpointSettings>();
        let sent =
            form(&[("name", " "), ("max_in_flight", "many"), ("field_map", "{"), ("headers", "x")]);
        let (_, faults) = FormValues::of_form(&fields, &sent).read(&fields);
        let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, ["name", "url", "field_map", "headers", "max_in_flight"]);
    }

    #[test]
    fn empty_rows_are_left_out() {
        let fields = fields_of::<FlowSettings>();
        let sent = form(&[
            ("name", "books"),
            ("modules[0].name", ""),
            ("modules[1].name", "tax"),
            ("modules[1].version", "2"),
            ("modules[1].config", "{\"rate\": \"7\"}"),
            ("enabled", "false"),
            ("enabled", "true"),
            ("events", "a.b\r\n\r\n c.d "),
        ]);
        let values = FormValues::of_form(&fields, &sent);
        let (read, _) = values.read(&fields);
        let expected = json!({"name": "books", "events": ["a.b", "c.d"], "enabled": true,
            "modules": [{"name": "tax", "version": 2, "config": {"rate": "7"}}]});
        assert_eq!(Value::Object(read), expected);
        assert_eq!(values.rows("modules"), 1);
    }

    #[test]
    fn an_explicitly_empty_value_can_be_written() {
        let fields = fields_of::<EndpointSettings>();
        let (read, _) =
            FormValues::of_form(&fields, &form(&[("retry.schedule", "[]")])).read(&fields);
        assert_eq!(read.get("retry"), Some(&json!({"schedule": []})));
    }
}
