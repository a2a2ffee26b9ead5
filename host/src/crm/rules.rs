//! The rules that say which event follows from which change of a row: one for each event of the
//! catalogue that leaves a trace in the database.
//!
//! Source: `catalog/event-derivation.json` (`db_rule`, `db_quality`). Four events leave no trace
//! and have no rule: `WITHOUT_TRACE`.
//!
//! A record may be created and changed between two scans. So a condition on a state is also
//! fulfilled by a new row: an invoice that is written and paid within a minute leads to
//! `invoice.created` and `invoice.paid`. A condition on a *change* needs the old value.

pub mod lookups;
pub mod people;
pub mod sales;
pub mod support;
pub mod work;

use super::row::CrmRow;

/// Events that no column shows. Only hooks of the CRM report them.
#[cfg(test)]
pub const WITHOUT_TRACE: &[&str] =
    &["customer.company_info_updated", "credit_note.sent", "contract.viewed", "project.copied"];

/// An event type, and the conditions under which it occurs.
#[derive(Debug, Clone, Copy)]
pub struct EventRule {
    /// The event type.
    pub event: &'static str,
    /// The event occurs once if at least one of these conditions is fulfilled.
    pub when: &'static [ChangeCondition],
    /// The event type of which this one is an alias. An alias is captured only if somebody
    /// subscribes to it.
    pub alias_of: Option<&'static str>,
    /// What the data of the event is.
    pub data: RuleData,
}

impl EventRule {
    pub const fn new(event: &'static str, when: &'static [ChangeCondition]) -> Self {
        Self { event, when, alias_of: None, data: RuleData::Record }
    }

    pub const fn alias_of(self, other: &'static str) -> Self {
        Self { alias_of: Some(other), ..self }
    }

    pub const fn data(self, data: RuleData) -> Self {
        Self { data, ..self }
    }

    /// The data is the record in another table that the row belongs to, with the row as this field.
    pub const fn about(self, table: &'static str, field: &'static str) -> Self {
        self.data(RuleData::Parent { table, field })
    }

    /// Returns the resource that the event is about: the first part of its name.
    pub fn resource(&self) -> &'static str {
        self.event.split_once('.').map_or(self.event, |(resource, _)| resource)
    }
}

/// A condition on the change of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeCondition {
    /// The row is new and fulfils all of these.
    New(&'static [ValueCondition]),
    /// The row was deleted.
    Gone,
    /// A known row changed, other than in ignored columns.
    Updated,
    /// This column of a known row changed.
    Changed(&'static str),
    /// This column of a known row changed, and is not empty.
    Renewed(&'static str),
    /// This column of a known row changed from the first value to the second.
    Turns(&'static str, &'static str, &'static str),
    /// This column of a known row changed from this value to any other.
    Leaves(&'static str, &'static str),
    /// This column has this value, and did not before or the row is new.
    Becomes(&'static str, &'static str),
    /// This column has a value, and was empty before or the row is new.
    Set(&'static str),
    /// This column of a known row was empty and has a value now. For columns that the CRM may also
    /// fill when it creates the row.
    SetLater(&'static str),
    /// A task became complete, or was moved to the milestone when complete, and all other tasks of
    /// the milestone are complete.
    CompletesMilestone,
    /// A date has come.
    Due(DueCondition),
    /// No payment arrived for an attempt to pay within the time that it may take.
    Unanswered,
}

impl ChangeCondition {
    /// Whether an unchanged row can fulfil the condition because time passes.
    pub fn is_clock(&self) -> bool {
        matches!(self, Self::Due(_) | Self::Unanswered)
    }

    /// Whether the condition is about the value of this column.
    pub fn names(&self, column: &str) -> bool {
        match self {
            Self::Changed(name)
            | Self::Renewed(name)
            | Self::Turns(name, ..)
            | Self::Leaves(name, _)
            | Self::Becomes(name, _)
            | Self::Set(name)
            | Self::SetLater(name) => *name == column,
            Self::New(_)
            | Self::Gone
            | Self::Updated
            | Self::CompletesMilestone
            | Self::Due(_)
            | Self::Unanswered => false,
        }
    }
}

/// A condition on the values of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueCondition {
    /// The column has this value.
    Is(&'static str, &'static str),
    /// The column has another value than this.
    IsNot(&'static str, &'static str),
    /// The column has one of these values.
    OneOf(&'static str, &'static [&'static str]),
    /// The column is not null, not empty and not `0`.
    IsSet(&'static str),
    /// The column is null, empty or `0`.
    IsEmpty(&'static str),
    /// The amount in the column is above zero.
    Above0(&'static str),
    /// The amount in the column is below zero.
    Below0(&'static str),
}

impl ValueCondition {
    /// Whether the row fulfils the condition.
    pub fn holds(&self, row: &CrmRow) -> bool {
        match self {
            Self::Is(column, value) => row.text(column) == Some(value),
            Self::IsNot(column, value) => row.text(column).is_some_and(|text| text != *value),
            Self::OneOf(column, values) => row.text(column).is_some_and(|t| values.contains(&t)),
            Self::IsSet(column) => !row.is_empty(column),
            Self::IsEmpty(column) => row.is_empty(column),
            Self::Above0(column) => amount(row, column).is_some_and(|negative| !negative),
            Self::Below0(column) => amount(row, column).is_some_and(|negative| negative),
        }
    }
}

/// Whether an amount is negative. Returns `None` for zero, and for a value that is not an amount.
fn amount(row: &CrmRow, column: &str) -> Option<bool> {
    let text = row.text(column)?;
    text.bytes().any(|c| matches!(c, b'1'..=b'9')).then(|| text.starts_with('-'))
}

/// A condition on a date of the row and the present date. It is fulfilled once for each value that
/// the column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueCondition {
    /// The column that holds the date.
    pub date: &'static str,
    /// The relation of the date to the present date.
    pub moment: DueMoment,
    /// Further conditions on the row.
    pub when: &'static [ValueCondition],
    /// The column and value by which the CRM states the same fact. Both together lead to one event.
    pub told: Option<(&'static str, &'static str)>,
}

/// The relation of a date to the present date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DueMoment {
    /// Before today.
    Passed,
    /// Today, or as many days after as the option `contract_expiration_before` of the CRM says.
    NearAsContracts,
    /// Today, or as many days after as the option `send_estimate_expiry_reminder_before` of the CRM
    /// says.
    NearAsEstimates,
}

/// What the data of an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleData {
    Record,
    /// The record, with the old and the new value of this column.
    Change(&'static str),
    /// The record, with the new and the old state of this list.
    List(&'static str),
    /// The record that the row belongs to, with the row as `field`.
    Parent {
        /// The table of that record.
        table: &'static str,
        /// The field that is the row.
        field: &'static str,
    },
    /// The document that was opened, with when.
    View(&'static str),
    /// The lead, with the customer made from it.
    Customer,
    /// The record, with the invoice whose key this column holds.
    Invoice(&'static str),
    /// The invoice, with which reminder it was.
    Reminder(&'static str),
    /// The name of the list, what happened, and the row of the list that it happened to.
    Lookup,
    /// A payment with a negative amount, made from a payout of a credit note.
    Refund,
    /// A failed attempt to pay, described as a payment.
    Attempt,
    /// The project, with the milestone.
    Milestone,
    /// The account. Who took over its records is missing, because no column has it.
    Departure,
}

impl RuleData {
    /// The field of the data that is the row, where the data is another record.
    pub fn field(&self) -> Option<&'static str> {
        if let Self::Parent { field, .. } = self { Some(field) } else { None }
    }
}
