//! Makes the data of an event as the catalogue describes it: the record with all its values as
//! texts, and what the event adds.

use serde_json::{Map, Value, json};

use super::change::RowChange;
use super::known::{KnownRows, RowReference};
use super::lists;
use super::row::{CellValue, CrmRow};
use super::rules::{EventRule, RuleData};
use super::tables::{self, CrmTable, JoinTakes, ListSending, TableJoin};
use crate::crypto::digest::ShortDigest;

/// The data of an event, and the record that the event is about.
#[derive(Debug)]
pub struct EventData {
    /// The key of the record.
    pub resource_id: String,
    pub data: Map<String, Value>,
    /// What identifies the occurrence, if that is not the row and its revision.
    pub occurrence: Option<String>,
}

/// Returns the rows of other tables that the data of an event needs.
pub fn row_references(
    rule: &EventRule,
    table: &'static CrmTable,
    row: &CrmRow,
) -> Vec<RowReference> {
    let mut found: Vec<RowReference> = Vec::new();
    found.extend(join_references(table, row));
    let mut add = |table, column| found.extend(RowReference::to_row(table, row.text(column)));
    match rule.data {
        RuleData::Parent { table: parent, .. } | RuleData::View(parent) => {
            add(parent, parent_column(table, parent));
        }
        RuleData::Invoice(column) => add("invoices", column),
        RuleData::Milestone => {
            add("projects", "rel_id");
            add("milestones", "milestone");
            found.extend(of_column("tasks", "milestone", row.text("milestone")));
        }
        RuleData::Customer => found.extend(of_column("clients", "leadid", row.text(table.key))),
        RuleData::Attempt => {
            let invoice = row.text("invoice_id");
            found.extend(of_column("invoicepaymentrecords", "invoiceid", invoice));
        }
        RuleData::Record
        | RuleData::Change(_)
        | RuleData::List(_)
        | RuleData::Reminder(_)
        | RuleData::Lookup
        | RuleData::Refund
        | RuleData::Departure => {}
    }
    found
}

/// Returns the rows that the joins of a row look up.
pub fn join_references(table: &CrmTable, row: &CrmRow) -> Vec<RowReference> {
    let mut found = Vec::new();
    for join in table.joins {
        let key = row.text(join.column);
        let other = RowReference::to_row(join.table, key);
        if join.takes == JoinTakes::Customer && other.is_some() {
            found.extend(of_column("contacts", "userid", key));
        }
        found.extend(other);
    }
    found
}

fn of_column(
    table: &'static str,
    column: &'static str,
    value: Option<&str>,
) -> Option<RowReference> {
    Some(RowReference { table, column, value: value?.to_owned() })
}

/// Returns the column of `table` that holds the key of the record in `parent`.
fn parent_column(table: &CrmTable, parent: &str) -> &'static str {
    table.parents.iter().find(|one| one.table == parent).map_or("", |one| one.column)
}

/// Makes the data of a rule's event. Returns `None` if the rows that the rule looks up show that
/// the event did not occur.
pub fn event_data(
    rule: &EventRule,
    table: &'static CrmTable,
    change: RowChange<'_>,
    known: &KnownRows,
) -> Option<EventData> {
    let row = change.row();
    let mut data = record(table, row, known);
    match rule.data {
        RuleData::Record => {}
        RuleData::Change(column) => add_change(&mut data, column, change),
        RuleData::List(field) => add_list(&mut data, table, field, change, known),
        RuleData::Customer => add_customer(&mut data, table, row, known),
        RuleData::Invoice(column) => {
            data.insert("invoice".into(), summary(known.row("invoices", row.text(column)), known));
        }
        RuleData::Reminder(which) => {
            data.insert("reminder".into(), which.into());
            // The CRM does not store the recipients.
            data.insert("sent_to".into(), json!([]));
        }
        RuleData::Departure => {
            data.insert("transfer_data_to".into(), Value::Null);
        }
        RuleData::Parent { table: parent, field } => {
            return about_parent(table, row, parent, known)
                .map(|told| told.with(field, data.into()));
        }
        RuleData::View(parent) => {
            let opened = row.text("date").map_or(Value::Null, Value::from);
            return about_parent(table, row, parent, known)
                .map(|told| told.with("viewed_at", opened));
        }
        RuleData::Lookup => data = lookup(table, change),
        RuleData::Refund => data = refund(row, data),
        RuleData::Attempt => data = attempt(row, &data),
        RuleData::Milestone => return milestone(row, known),
    }
    let resource_id = row.text(table.key)?.to_owned();
    Some(EventData { resource_id, data, occurrence: None })
}

impl EventData {
    fn with(mut self, field: &str, value: Value) -> Self {
        self.data.insert(field.to_owned(), value);
        self
    }
}

/// Makes data of a row. A text of which only a digest is stored is left out, because its value is
/// not known.
pub fn record(table: &CrmTable, row: &CrmRow, known: &KnownRows) -> Map<String, Value> {
    let mut data = Map::new();
    for (column, cell) in row.iter() {
        let value = match (table.list(column), cell) {
            (_, CellValue::Digest(_)) => continue,
            (Some(list), _) if list.sent != ListSending::Always => continue,
            (
                Some(list),
                CellValue::Text(text) | CellValue::Number(text) | CellValue::List(_, text),
            ) => lists::value(list, text, known),
            (None, CellValue::Text(text) | CellValue::Number(text) | CellValue::List(_, text)) => {
                Value::from(text.as_str())
            }
            (_, CellValue::Null) => Value::Null,
        };
        data.insert(column.to_string(), value);
    }
    for join in table.joins {
        data.insert(join.field.to_owned(), joined(join, row, known));
    }
    data
}

fn joined(join: &TableJoin, row: &CrmRow, known: &KnownRows) -> Value {
    let other = known.row(join.table, row.text(join.column));
    match join.takes {
        JoinTakes::Column(column) => {
            other.and_then(|other| other.text(column)).map_or(Value::Null, Value::from)
        }
        JoinTakes::Invoice => summary(other, known),
        JoinTakes::CurrencyName => currency_name(other, known),
        JoinTakes::Customer => customer(other, known),
    }
}

fn summary(invoice: Option<&CrmRow>, known: &KnownRows) -> Value {
    let mut summary = chosen(invoice, tables::INVOICE_SUMMARY);
    if let Value::Object(fields) = &mut summary {
        fields.insert("currency_name".to_owned(), currency_name(invoice, known));
    }
    summary
}

/// Returns the code of a row's currency.
fn currency_name(row: Option<&CrmRow>, known: &KnownRows) -> Value {
    let currency = known.row("currencies", row.and_then(|row| row.text("currency")));
    currency.and_then(|row| row.text("name")).map_or(Value::Null, Value::from)
}

/// Returns a customer with the name and e-mail address of its primary contact, or of its first
/// contact if none is primary.
fn customer(client: Option<&CrmRow>, known: &KnownRows) -> Value {
    let Some(client) = client else { return Value::Null };
    let key = client.text("userid").unwrap_or_default();
    let contacts = known.rows("contacts", "userid", key);
    let primary = contacts.iter().find(|contact| contact.text("is_primary") == Some("1"));
    let contact = primary.or_else(|| contacts.first());
    let of_client = ["userid", "company", "vat"].map(|column| (column, client.text(column)));
    let of_contact = ["firstname", "lastname", "email"]
        .map(|column| (column, contact.and_then(|contact| contact.text(column))));
    let fields = of_client.into_iter().chain(of_contact);
    fields.map(|(name, text)| (name.to_owned(), text.map_or(Value::Null, Value::from))).collect()
}

/// Returns some columns of a row. They are null if the row is not known.
fn chosen(row: Option<&CrmRow>, columns: &[&str]) -> Value {
    let Some(row) = row else { return Value::Null };
    let value = |column: &&str| row.text(column).map_or(Value::Null, Value::from);
    columns.iter().map(|column| ((*column).to_owned(), value(column))).collect()
}

fn add_change(data: &mut Map<String, Value>, column: &str, change: RowChange<'_>) {
    let Some((old, new)) = change.both() else { return };
    let value = |row: &CrmRow| row.text(column).map_or(Value::Null, Value::from);
    data.insert(format!("old_{column}"), value(old));
    data.insert(format!("new_{column}"), value(new));
}

fn add_list(
    data: &mut Map<String, Value>,
    table: &CrmTable,
    field: &str,
    change: RowChange<'_>,
    known: &KnownRows,
) {
    let Some(((old, new), list)) = change.both().zip(table.list(field)) else { return };
    let value = |row: &CrmRow| lists::value(list, row.text(field).unwrap_or_default(), known);
    data.insert(field.to_owned(), value(new));
    data.insert(format!("old_{field}"), value(old));
}

/// Adds the customer that a lead became. The customer's row names its lead; if that row is not
/// known, the lead's own link is used.
fn add_customer(data: &mut Map<String, Value>, table: &CrmTable, row: &CrmRow, known: &KnownRows) {
    let lead = row.text(table.key).unwrap_or_default();
    let customer = known.rows("clients", "leadid", lead).first().zip(tables::find_table("clients"));
    let id = customer.and_then(|(customer, clients)| customer.text(clients.key));
    let id = id.or_else(|| row.text("client_id"));
    data.insert("customer_id".into(), id.map_or(Value::Null, Value::from));
    let customer = customer.map(|(customer, clients)| record(clients, customer, known));
    data.insert("customer".into(), customer.map_or(Value::Null, Value::Object));
}

/// Returns the record that a row belongs to, or only its key if the record is not known.
fn about_parent(
    table: &CrmTable,
    row: &CrmRow,
    parent: &'static str,
    known: &KnownRows,
) -> Option<EventData> {
    let key = row.text(parent_column(table, parent))?;
    let parent = tables::find_table(parent)?;
    let data = known.row(parent.name, Some(key)).map(|found| record(parent, found, known));
    let only_key = || Map::from_iter([(parent.key.to_owned(), Value::from(key))]);
    let data = data.unwrap_or_else(only_key);
    Some(EventData { resource_id: key.to_owned(), data, occurrence: None })
}

fn lookup(table: &CrmTable, change: RowChange<'_>) -> Map<String, Value> {
    let action = match change {
        RowChange::New(_) => "added",
        RowChange::Update(..) | RowChange::Same(_) => "changed",
        RowChange::Gone(_) => "removed",
    };
    let row = change.row();
    let text = |column| row.text(column).map_or(Value::Null, Value::from);
    Map::from_iter([
        ("list".to_owned(), table.name.into()),
        ("action".to_owned(), action.into()),
        ("id".to_owned(), text(table.key)),
        ("name".to_owned(), text("name")),
    ])
}

/// Describes a refund as a payment with a negative amount. Fields that a refund does not have are
/// left out.
fn refund(row: &CrmRow, payout: Map<String, Value>) -> Map<String, Value> {
    let amount = row.text("amount").map(|text| format!("-{}", text.trim_start_matches('-')));
    let text = |column| row.text(column).map(Value::from);
    let fields = [
        ("id", text("id")),
        ("amount", amount.map(Value::from)),
        ("paymentmode", text("payment_mode")),
        ("date", text("refunded_on")),
        ("daterecorded", text("created_at")),
        ("note", text("note")),
        ("currency_name", payout.get("currency_name").cloned()),
        ("refund", Some(Value::Object(payout))),
    ];
    present(fields)
}

/// Describes a failed attempt to pay as a payment.
fn attempt(row: &CrmRow, record: &Map<String, Value>) -> Map<String, Value> {
    let text = |column| row.text(column).map(Value::from);
    let begun = row.text("created_at");
    let fields = [
        ("id", text("id")),
        ("invoiceid", text("invoice_id")),
        ("amount", row.text("amount").map(|amount| two_places(amount).into())),
        ("paymentmode", text("payment_gateway")),
        ("date", begun.and_then(|begun| begun.split(' ').next()).map(Value::from)),
        ("daterecorded", begun.map(Value::from)),
        ("reference", text("reference")),
        ("payment_gateway", text("payment_gateway")),
        ("invoice", record.get("invoice").cloned()),
        ("currency_name", record.get("currency_name").cloned()),
    ];
    present(fields)
}

fn present<const N: usize>(fields: [(&str, Option<Value>); N]) -> Map<String, Value> {
    let present = fields.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?)));
    present.collect()
}

/// Writes an amount of a floating-point column with two places, like those of decimal columns.
fn two_places(amount: &str) -> String {
    amount.parse::<f64>().map_or_else(|_| amount.to_owned(), |number| format!("{number:.2}"))
}

/// Returns a milestone if all its tasks are complete. If two tasks become complete within one scan,
/// that is one occurrence. It is identified by the tasks and the times when they were finished, so
/// that it differs from the next one, after a task was opened again.
fn milestone(row: &CrmRow, known: &KnownRows) -> Option<EventData> {
    let id = row.text("milestone")?;
    let of_project = |task: &&CrmRow| task.text("rel_type") == Some("project");
    let tasks: Vec<&CrmRow> =
        known.rows("tasks", "milestone", id).iter().filter(of_project).collect();
    if tasks.is_empty() || tasks.iter().any(|task| task.text("status") != Some("5")) {
        return None;
    }
    let finished = |task: &&CrmRow| {
        [task.text("id"), task.text("datefinished")].map(|t| t.unwrap_or_default().to_owned())
    };
    let mut times: Vec<[String; 2]> = tasks.iter().map(finished).collect();
    times.sort();
    let tasks = tables::find_table("tasks")?;
    let told = about_parent(tasks, row, "projects", known)?;
    let stage = known.row("milestones", Some(id)).zip(tables::find_table("milestones"));
    let stage =
        stage.map_or_else(|| json!({ "id": id }), |(row, table)| record(table, row, known).into());
    let occurrence = Some(format!("{id} {}", ShortDigest::of(times.iter().flatten())));
    Some(EventData { occurrence, ..told }.with("milestone", stage))
}
