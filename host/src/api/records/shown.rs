//! The form in which a record is shown: its state, and additional fields of Waybill.
//!
//! The additional fields begin with `waybill_`, because a CRM's rows may have columns with any
//! other name (`source`, `updated_at`). Two CRMs may use the same ids, so the `id` alone does not
//! identify a row of a list.

use super::condition::FieldCondition;
use crate::json::members::JsonMembers;
use crate::model::record::{Record, RecordOrder, RecordPosition, record_name};
use crate::time::timestamp::Timestamp;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

/// Prefix that no field of a record keeps.
const PREFIX: &str = "waybill_";
/// Fields that are shown regardless of `fields`, because they identify rows.
const ALWAYS: [&str; 2] = ["id", "waybill_key"];

/// Waybill's own data about a record.
#[derive(Debug, Serialize)]
struct RecordKnowledge<'r> {
    #[serde(rename = "waybill_key")]
    key: String,
    #[serde(rename = "waybill_revision", skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    #[serde(rename = "waybill_source")]
    source: &'r str,
    #[serde(rename = "waybill_created_at", skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    #[serde(rename = "waybill_updated_at", skip_serializing_if = "Option::is_none")]
    updated_at: Option<Timestamp>,
}

impl<'r> RecordKnowledge<'r> {
    fn of(record: &'r Record) -> Self {
        Self {
            key: record.key(),
            revision: Some(record.revision()),
            source: &record.source,
            created_at: Some(record.created_at),
            updated_at: Some(record.updated_at),
        }
    }

    fn fields(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) | Err(_) => Map::new(),
        }
    }
}

/// A record with its parsed state.
pub struct ShownRecord {
    pub fields: Map<String, Value>,
    /// Position of the record in the list, if the list uses cursors.
    pub position: Option<RecordPosition>,
}

impl ShownRecord {
    /// Creates the record of a list with this order.
    pub fn of(record: &Record, order: RecordOrder) -> Self {
        let data = serde_json::from_str(record.data.get()).unwrap_or_default();
        let fields = fields(&record.resource_id, data, &RecordKnowledge::of(record));
        Self { fields, position: Some(record.position(order)) }
    }

    /// Creates a record with only the named fields, for comparing and sorting, because 20,000 whole
    /// records would not fit into memory. Long texts are cut, but stay longer than any value with
    /// which they are compared.
    pub fn with_fields(record: &Record, order: RecordOrder, names: &[&str]) -> Self {
        let members = JsonMembers::read(record.data.get()).ok();
        let value = |name: &str| {
            let raw = members.as_ref()?.get(name)?;
            scalar(raw.get())
        };
        let known = names.iter().chain(&["id"]);
        let data = known.filter_map(|name| Some(((*name).to_owned(), value(name)?))).collect();
        let fields = fields(&record.resource_id, data, &RecordKnowledge::of(record));
        Self { fields, position: Some(record.position(order)) }
    }

    /// Creates a row of a short list, whose time is not known.
    pub fn of_list_row(source: &str, id: &str, data: Map<String, Value>) -> Self {
        let key = record_name(source, id);
        let known =
            RecordKnowledge { key, revision: None, source, created_at: None, updated_at: None };
        let data = data.into_iter().filter(|(name, _)| name != "id").collect();
        Self { fields: fields(id, data, &known), position: None }
    }

    /// Returns the text of a field. Empty if there is none.
    pub fn text(&self, field: &str) -> &str {
        self.fields.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns whether the record meets all conditions.
    pub fn fits_conditions(&self, conditions: &[FieldCondition]) -> bool {
        FieldCondition::all(conditions, &self.fields)
    }

    pub fn written(mut self, fields: &[String]) -> Box<RawValue> {
        if !fields.is_empty() {
            self.fields.retain(|name, _| ALWAYS.contains(&name.as_str()) || fields.contains(name));
        }
        to_raw_value(&self.fields).unwrap_or_default()
    }
}

/// Longest text that is compared, in characters: one more than the largest number of bytes of a
/// condition's value.
const COMPARED: usize = 256;

/// Parses a text, a number or a truth value. Nothing else can be compared.
fn scalar(json: &str) -> Option<Value> {
    if json.starts_with(['[', '{']) {
        return None;
    }
    let value: Value = serde_json::from_str(json).ok()?;
    if let Some(text) = value.as_str().filter(|text| text.len() > COMPARED) {
        return Some(Value::String(text.chars().take(COMPARED).collect()));
    }
    Some(value)
}

/// Returns the fields of a record: its `id`, its own fields, then those of Waybill.
fn fields(id: &str, data: Map<String, Value>, known: &RecordKnowledge<'_>) -> Map<String, Value> {
    let mut fields = Map::with_capacity(data.len() + 6);
    // Clients expect this member even if the CRM's column has another name.
    let own = data.get("id").cloned().filter(|id| id.is_string() || id.is_number());
    fields.insert("id".to_owned(), own.unwrap_or_else(|| Value::String(id.to_owned())));
    fields.extend(data.into_iter().filter(|(name, _)| name != "id" && !name.starts_with(PREFIX)));
    fields.extend(known.fields());
    fields
}

/// Returns the JSON of a record. If all fields are wanted and the record contains its id, the
/// captured text is passed on unchanged, with Waybill's fields appended.
pub fn written(record: &Record, fields: &[String]) -> Box<RawValue> {
    let whole = fields.is_empty().then(|| appended(record)).flatten();
    whole.unwrap_or_else(|| ShownRecord::of(record, RecordOrder::default()).written(fields))
}

fn appended(record: &Record) -> Option<Box<RawValue>> {
    let data = record.data.get();
    let members = JsonMembers::read(data).ok()?;
    let id = members.get("id")?.get().as_bytes().first()?;
    if !matches!(id, b'"' | b'-' | b'0'..=b'9')
        || members.names().any(|name| name.starts_with(PREFIX))
    {
        return None;
    }
    let known = serde_json::to_string(&RecordKnowledge::of(record)).ok()?;
    let (data, known) = (data.trim_end().strip_suffix('}')?, known.strip_prefix('{')?);
    RawValue::from_string(format!("{data},{known}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(data: &str) -> Record {
        Record {
            resource_id: "17".to_owned(),
            source: "crm".to_owned(),
            ordinal: 17,
            created_at: Timestamp::from_micros(1),
            updated_at: Timestamp::from_micros(2),
            data: RawValue::from_string(data.to_owned()).unwrap(),
        }
    }

    #[test]
    fn both_ways_of_writing_a_record_agree() {
        for data in [
            r#"{"id":"17","a":1}"#,
            r#"{"a":{"id":2},"id":17 } "#,
            r#"{"userid":"17"}"#,
            r#"{"id":null,"waybill_key":"forged"}"#,
            r#"{"id":"17","waybill_source":"forged","updated_at":"x"}"#,
            "{}",
        ] {
            let record = record(data);
            let quick: Value = serde_json::from_str(written(&record, &[]).get()).unwrap();
            let slow = ShownRecord::of(&record, RecordOrder::Id).fields;
            assert_eq!(quick, Value::Object(slow), "{data}");
            assert_eq!(quick["waybill_key"], "crm:17", "{data}");
            assert_eq!(quick["waybill_revision"], "crm:17@2", "{data}");
        }
    }

    #[test]
    fn a_narrowed_record_compares_as_the_whole_one() {
        let long = "x".repeat(1_000);
        let record = record(&format!(r#"{{"id":17,"a":"1.5","b":[1],"c":true,"long":"{long}"}}"#));
        let narrowed =
            ShownRecord::with_fields(&record, RecordOrder::Id, &["a", "b", "long", "none"]).fields;
        let whole = ShownRecord::of(&record, RecordOrder::Id).fields;
        for name in ["id", "a", "none", "waybill_source", "waybill_key"] {
            assert_eq!(narrowed.get(name), whole.get(name), "{name}");
        }
        assert!(!narrowed.contains_key("c") && !narrowed.contains_key("b"));
        assert_eq!(narrowed["long"].as_str().unwrap().len(), COMPARED);
    }

    #[test]
    fn what_tells_rows_apart_is_always_shown() {
        let shown = written(&record(r#"{"id":"17","a":1,"b":2}"#), &["b".to_owned()]);
        assert_eq!(shown.get(), r#"{"id":"17","b":2,"waybill_key":"crm:17"}"#);
    }
}
