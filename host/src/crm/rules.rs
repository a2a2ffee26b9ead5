//! Which event follows from which change of a row: one declarative rule for each event of the
//! catalogue that leaves a trace.
//!
//! Source: `catalog/event-derivation.json` (`db_rule`, `db_quality`). Four events leave no trace
//! and have no rule: `WITHOUT_TRACE`.
//!
//! Between two scans a record may come into being and go on. So a state that a rule waits for
//! counts also where the row is new: an invoice that is written and paid within a minute gives
//! `invoice.created` and `invoice.paid`. A *change* of a value needs the old one.

pub mod lookups;
pub mod people;
pub mod sales;
pub mod support;
pub mod work;

use super::row::CrmRow;

/// Events that no column tells of; only hooks of the CRM do.
#[cfg(test)]
pub const WITHOUT_TRACE: &[&str] =
    &["customer.company_info_updated", "credit_note.sent", "contract.viewed", "project.copied"];

/// One event and when it occurs.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The event type.
    pub event: &'static str,
    /// The event occurs, once, if any of these holds.
    pub when: &'static [When],
    /// The event type of which this one is a second name, to be sent only to those who asked for
    /// it.
    pub alias_of: Option<&'static str>,
    /// What its data is.
    pub data: Data,
}

impl Rule {
    pub const fn new(event: &'static str, when: &'static [When]) -> Self {
        Self { event, when, alias_of: None, data: Data::Record }
    }

    pub const fn alias_of(self, other: &'static str) -> Self {
        Self { alias_of: Some(other), ..self }
    }

    pub const fn data(self, data: Data) -> Self {
        Self { data, ..self }
    }

    /// The data is the record of another table that the row belongs to, with the row as this field.
    pub const fn about(self, table: &'static str, field: &'static str) -> Self {
        self.data(Data::Parent { table, field })
    }

    /// What the event is about: the first part of its name.
    pub fn resource(&self) -> &'static str {
        self.event.split_once('.').map_or(self.event, |(resource, _)| resource)
    }
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// A new row that is all of this.
    New(&'static [Where]),
    /// The row is gone.
    Gone,
    /// A known row with another content, ignored columns apart.
    Updated,
    /// A known row with another value in this column.
    Changed(&'static str),
    /// A known row with another value in this column, which is not empty.
    Renewed(&'static str),
    /// A known row with this column no longer at the one value, but at the other.
    Turns(&'static str, &'static str, &'static str),
    /// A known row with this column no longer at that value.
    Leaves(&'static str, &'static str),
    /// This column is at that value and was not, or the row is new.
    Becomes(&'static str, &'static str),
    /// This column is set and was empty, or the row is new.
    Set(&'static str),
    /// A known row with this column set that was empty. For columns that the CRM may fill as it
    /// makes the row.
    SetLater(&'static str),
    /// A task that is complete, and was not or not in this milestone; the last of its milestone, as
    /// looking there shows.
    CompletesMilestone,
    /// A date came.
    Due(Due),
    /// A begun payment to which no payment came within a time of grace.
    Unanswered,
}

impl When {
    /// Whether it waits for time to pass, so that it may come true of a row that is as it was.
    pub fn is_clock(&self) -> bool {
        matches!(self, Self::Due(_) | Self::Unanswered)
    }

    /// Whether it waits for another value in just this column.
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

/// What a row must be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// The column has this value.
    Is(&'static str, &'static str),
    /// The column has another value than this.
    IsNot(&'static str, &'static str),
    /// The column has one of these values.
    OneOf(&'static str, &'static [&'static str]),
    /// The column is set: not null, not empty, not `0`.
    IsSet(&'static str),
    /// The column is null, empty or `0`.
    IsEmpty(&'static str),
    /// The amount in the column is above zero.
    Above0(&'static str),
    /// The amount in the column is below zero.
    Below0(&'static str),
}

impl Where {
    /// Whether the row is so.
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

/// Whether an amount is negative; `None` for zero and for what is no amount.
fn amount(row: &CrmRow, column: &str) -> Option<bool> {
    let text = row.text(column)?;
    text.bytes().any(|c| matches!(c, b'1'..=b'9')).then(|| text.starts_with('-'))
}

/// A condition on a date of the row and today's. It is met once for each date that the column
/// takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The column that holds the date.
    pub date: &'static str,
    /// How the date lies to today.
    pub moment: Moment,
    /// What the row must be like besides.
    pub when: &'static [Where],
    /// The column and value by which the CRM itself says so. The two are one fact, whichever is
    /// seen first.
    pub told: Option<(&'static str, &'static str)>,
}

/// How a date lies to today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
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
pub enum Data {
    Record,
    /// The record, with the old and the new value of this column.
    Change(&'static str),
    /// The record, with what this list is now and was before.
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
    /// The list, what happened, and to which row of it.
    Lookup,
    /// A payment with a negative amount, made from a payout of a credit note.
    Refund,
    /// A payment that is none, made from the attempt at one.
    Attempt,
    /// The project, with the milestone.
    Milestone,
    /// The account, with who took over its records, which no column tells.
    Departure,
}

impl Data {
    /// The field of the data that is the row, where the data is another record.
    pub fn field(&self) -> Option<&'static str> {
        if let Self::Parent { field, .. } = self { Some(field) } else { None }
    }
}
