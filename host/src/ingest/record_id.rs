//! Finds the record that an event is about, if its sender does not name it.
//!
//! Perfex CRM's hooks pass an id, a row or a few named arguments. The CRM's webhook modules pass
//! these on. `record_ids.txt` lists, for each event type, the members that may hold the record's
//! id.

use crate::json::members::{JsonMembers, scalar_text};
use crate::model::record::is_whole;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The members that may hold a record's id, in the order in which they are tried, by event type or
/// resource.
static MEMBERS: LazyLock<HashMap<&'static str, Vec<&'static str>>> = LazyLock::new(|| {
    let lines = include_str!("record_ids.txt").lines().filter(|line| !line.starts_with('#'));
    let words = |line: &'static str| line.split_ascii_whitespace();
    lines.filter_map(|line| Some((words(line).next()?, words(line).skip(1).collect()))).collect()
});

/// The id of a record, and where it was found.
#[derive(Debug, PartialEq, Eq)]
pub struct RecordId {
    pub id: String,
    /// Whether the id is an argument of a hook (`lead_id`) and not the key of the record's own row.
    /// If so, the data does not contain the record.
    pub is_argument: bool,
}

impl RecordId {
    /// Finds the id in the data of an event type of the catalogue, whose rows have this key. If
    /// `record_ids.txt` does not list the type or its resource, only the key counts. Returns `None`
    /// for types without a key.
    pub fn of_catalogued(event_type: &str, resource: &str, key: &str, data: &str) -> Option<Self> {
        if key.is_empty() {
            return None;
        }
        let known = MEMBERS.get(event_type).or_else(|| MEMBERS.get(resource));
        let only = [key];
        let members = known.map_or(only.as_slice(), Vec::as_slice);
        let found = |id| Self { id, is_argument: true };
        match data.as_bytes().first()? {
            b'{' => {
                let read = JsonMembers::read(data).ok()?;
                let (name, id) =
                    members.iter().find_map(|name| Some((*name, find_record_id(&read, name)?)))?;
                Some(Self { id, is_argument: name.trim_end_matches('?') != "id" && name != key })
            }
            b'[' if members.contains(&"id") => {
                let arguments: Vec<&RawValue> = serde_json::from_str(data).ok()?;
                arguments.first().and_then(|first| scalar_text(first)).map(found)
            }
            _ if members.contains(&"id") => {
                serde_json::from_str::<&RawValue>(data).ok().and_then(scalar_text).map(found)
            }
            _ => None,
        }
    }

    /// Finds the member `id` in the data of a type that is not in the catalogue.
    pub fn of_other(data: &str) -> Option<Self> {
        if !data.starts_with('{') || !data.contains("\"id\"") {
            return None;
        }
        let id = scalar_text(JsonMembers::read(data).ok()?.get("id")?)?;
        Some(Self { id, is_argument: false })
    }
}

/// Returns the value of a member, if it is a string or a number. `name` is as in `record_ids.txt`:
/// `a/b` is a member of the member `a`, and `a?` counts only if the data is a whole row.
fn find_record_id(members: &JsonMembers<'_>, name: &str) -> Option<String> {
    if let Some(name) = name.strip_suffix('?') {
        return members.get(name).filter(|_| is_whole(members)).and_then(scalar_text);
    }
    match name.split_once('/') {
        None => scalar_text(members.get(name)?),
        Some((outer, inner)) => {
            scalar_text(JsonMembers::read(members.get(outer)?.get()).ok()?.get(inner)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    fn id(event_type: &str, data: &str) -> Option<String> {
        let known = catalog::get().find(event_type).unwrap();
        let found = RecordId::of_catalogued(event_type, known.resource, known.key, data);
        found.map(|found| found.id)
    }

    #[test]
    fn every_line_names_a_resource_or_an_event_type() {
        let types = catalog::get().event_types();
        for name in MEMBERS.keys() {
            let is_known = types.iter().any(|known| known.resource == *name || known.name == *name);
            assert!(is_known, "{name}");
        }
    }

    #[test]
    fn every_type_with_rows_finds_the_key_of_its_row() {
        for known in catalog::get().event_types().iter().filter(|known| !known.key.is_empty()) {
            let whole = id(known.name, known.example_text());
            assert_eq!(whole, known.resource_id(&known.example()), "{}", known.name);
        }
    }

    #[test]
    fn the_arguments_of_hooks_name_the_record() {
        for (event_type, data, wanted) in [
            ("customer.created", r#"{"id":4}"#, Some("4")),
            ("customer.updated", r#"{"id":4,"data":{"company":"A"},"updated":true}"#, Some("4")),
            ("customer.status_changed", r#"{"id":4,"status":0}"#, Some("4")),
            ("customer.contact_added", r#"{"id":77}"#, None),
            ("customer.group_changed", r#"{"id":3}"#, None),
            ("contact.updated", r#"[77,{"firstname":"Eleni"}]"#, Some("77")),
            ("contact.email_verified", r#"{"contact":{"id":"77","userid":"42"}}"#, Some("77")),
            ("lead.created", r#"{"lead_id":5,"web_to_lead_form":true}"#, Some("5")),
            ("lead.created", "5", Some("5")),
            ("lead.converted", r#"{"lead_id":5,"customer_id":4}"#, Some("5")),
            ("invoice.created", r#"{"invoice_id":128,"customer_id":4}"#, Some("128")),
            ("invoice.payment_added", r#"{"id":9}"#, None),
            (
                "invoice.recurring_created",
                r#"{"original_invoice":1,"new_invoice_id":2}"#,
                Some("2"),
            ),
            (
                "invoice.reminder_sent",
                r#"{"invoice_id":128,"sent_to":[],"sms_send":0}"#,
                Some("128"),
            ),
            ("payment.deleted", r#"{"paymentid":9,"invoiceid":128}"#, Some("9")),
            ("estimate.converted", r#"{"invoice_id":128,"estimate_id":6}"#, Some("6")),
            ("proposal.converted", r#"{"proposal_id":3,"invoice_id":128}"#, Some("3")),
            ("credit_note.refund_created", r#"{"data":{},"credit_note_id":2}"#, Some("2")),
            ("credit_note.refund_deleted", r#"{"refund_id":8,"credit_note_id":2}"#, Some("2")),
            ("credit_note.status_changed", r#"[2,{"status":3}]"#, Some("2")),
            ("expense.converted", r#"{"expense_id":7,"invoice_id":128}"#, Some("7")),
            (
                "expense.recurring_created",
                r#"{"original_expense":1,"new_expense_id":2}"#,
                Some("2"),
            ),
            ("project.copied", r#"{"project_id":1,"new_project_id":2}"#, Some("2")),
            ("project.status_changed", r#"{"project_id":2,"status":4}"#, Some("2")),
            ("task.assigned", r#"{"staff_id":1,"task_id":7}"#, Some("7")),
            ("task.comment_added", r#"{"task_id":7,"comment_id":3}"#, Some("7")),
            ("task.checklist_item_completed", r#"{"id":3,"_source_hook":"x"}"#, None),
            ("task.status_changed", r#"{"status":5,"task_id":7}"#, Some("7")),
            ("timesheet.timer_started", r#"{"task_id":7,"timer_id":12}"#, Some("12")),
            ("ticket.reply_added", r#"{"data":{},"id":3,"admin":1,"replyid":8}"#, Some("3")),
            ("ticket.updated", r#"{"ticket_id":3,"original_ticket":{},"data":{}}"#, Some("3")),
            ("staff.deleted", r#"{"id":3,"transfer_data_to":1}"#, Some("3")),
            ("staff.login", r#"{"email":"a@example.com","userid":3}"#, Some("3")),
            ("utility.tax_created", r#"{"id":3,"data":{}}"#, Some("3")),
            ("utility.department_created", r#"{"id":3}"#, Some("3")),
            ("invoice.paid", "{}", None),
            ("invoice.paid", r#"{"id":{}}"#, None),
            ("invoice.paid", "null", None),
        ] {
            assert_eq!(id(event_type, data).as_deref(), wanted, "{event_type} {data}");
        }
    }
}
