//! Events that follow from a date: overdue, expiring, expired, and a payment that did not arrive.
//!
//! Each occurs once for a record and a date, and again only if the date changes. The [`DueMarks`]
//! of a row record which of its events were captured. The CRM may state the same fact in a column,
//! before or after the date. Both are one occurrence:
//!
//! ```text
//!   date comes ──► captured, Announced ──► CRM sets the column ──► Met   (not captured again)
//!   CRM sets the column ─────────────────► captured ─────────────► Met   (the date is ignored)
//!   found by the first scan ─────────────────────────────────────► Met   (only the column still counts)
//! ```

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Span};
use serde_json::{Map, Value};

use super::change::RowChange;
use super::derive::{RuleContext, ScanPurpose};
use super::known::KnownRows;
use super::row::CrmRow;
use super::rules::{DueCondition, DueMoment};

/// How long a payment through a gateway may take before the attempt counts as failed.
pub const GRACE: SignedDuration = SignedDuration::from_hours(1);

/// The state of an event for one date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DueMark {
    /// Nothing more follows from this date.
    Met(String),
    /// The event was captured because of the date. The CRM has not set its column yet.
    Announced(String),
}

impl DueMark {
    fn date(&self) -> &str {
        match self {
            Self::Met(date) | Self::Announced(date) => date,
        }
    }
}

/// The states of a row's events that depend on dates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DueMarks(Vec<(String, DueMark)>);

impl DueMarks {
    /// Whether there are no marks, as for most rows.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&self, event: &str) -> Option<&DueMark> {
        self.0.iter().find(|(name, _)| name == event).map(|(_, mark)| mark)
    }

    fn is_for(&self, event: &str, date: &str) -> bool {
        self.get(event).is_some_and(|mark| mark.date() == date)
    }

    /// Sets the mark of an event.
    pub fn set(&mut self, event: &str, mark: DueMark) {
        self.0.retain(|(name, _)| name != event);
        self.0.push((event.to_owned(), mark));
    }

    /// Encodes the marks as they are stored: a JSON object, or an empty text if there are none.
    pub fn encode(&self) -> String {
        let text = |mark: &DueMark| match mark {
            DueMark::Met(date) => format!("m{date}"),
            DueMark::Announced(date) => format!("a{date}"),
        };
        let members = self.0.iter().map(|(event, mark)| (event.clone(), Value::String(text(mark))));
        if self.is_empty() {
            return String::new();
        }
        Value::Object(members.collect()).to_string()
    }

    /// Decodes stored marks. Marks that cannot be read are dropped, so their events occur once
    /// more.
    pub fn decode(text: &str) -> Self {
        let members: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
        let mark = |text: &str| match text.strip_prefix('m') {
            Some(date) => Some(DueMark::Met(date.to_owned())),
            None => text.strip_prefix('a').map(|date| DueMark::Announced(date.to_owned())),
        };
        let read =
            members.into_iter().filter_map(|(event, value)| Some((event, mark(value.as_str()?)?)));
        Self(read.collect())
    }
}

/// What to do about an event that depends on a date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DueVerdict {
    /// Nothing.
    Wait,
    /// Set the mark without capturing the event.
    Note(DueMark),
    /// Capture the event and set the mark.
    Tell(DueMark),
}

/// Judges a condition on a date.
pub fn judge_due(
    due: &DueCondition,
    event: &str,
    change: RowChange<'_>,
    marks: &DueMarks,
    context: &RuleContext<'_>,
) -> DueVerdict {
    let row = change.row();
    let date = row.text(due.date).unwrap_or_default();
    let met = DueMark::Met(date.to_owned());
    let announced = DueMark::Announced(date.to_owned());
    let verdict = if matches!(change, RowChange::Gone(_)) {
        DueVerdict::Wait
    } else if due.told.is_some_and(|(column, value)| change.becomes(column, value)) {
        let again = marks.get(event) == Some(&announced);
        if again { DueVerdict::Note(met) } else { DueVerdict::Tell(met) }
    } else if is_met(due, row, date, context) && !marks.is_for(event, date) {
        DueVerdict::Tell(if due.told.is_some() { announced } else { met })
    } else {
        DueVerdict::Wait
    };
    verdict.in_pass(context.pass, date)
}

impl DueVerdict {
    /// Adjusts the verdict to the purpose of the scan: the first scan captures nothing.
    fn in_pass(self, pass: ScanPurpose, date: &str) -> Self {
        match (pass, self) {
            (ScanPurpose::Baseline | ScanPurpose::Backfill, Self::Tell(_)) => {
                Self::Note(DueMark::Met(date.to_owned()))
            }
            (ScanPurpose::Baseline | ScanPurpose::Backfill | ScanPurpose::Changes, verdict) => {
                verdict
            }
        }
    }
}

/// Whether the row and its date fulfil the condition today.
fn is_met(due: &DueCondition, row: &CrmRow, date: &str, context: &RuleContext<'_>) -> bool {
    let Ok(date) = date.parse::<Date>() else { return false };
    let today = context.now.date();
    let within = |days: u16| {
        let first = date.checked_sub(Span::new().days(days));
        date >= today && first.is_ok_and(|first| first <= today)
    };
    let lies_so = match due.moment {
        DueMoment::Passed => date < today,
        DueMoment::NearAsContracts => within(context.options.contract_expiration_before),
        DueMoment::NearAsEstimates => within(context.options.send_estimate_expiry_reminder_before),
    };
    lies_so && due.when.iter().all(|condition| condition.holds(row))
}

/// Whether the time for an attempt to pay has run out, and the attempt was not judged before.
pub fn is_ripe(row: &CrmRow, event: &str, marks: &DueMarks, context: &RuleContext<'_>) -> bool {
    let Some(begun) = row.text("created_at") else { return false };
    let end = begun.parse::<DateTime>().ok().and_then(|begun| begun.checked_add(GRACE).ok());
    !marks.is_for(event, begun) && end.is_some_and(|end| end < context.now)
}

/// Judges an attempt to pay whose time has run out. It succeeded if a payment of the same invoice
/// through the same gateway was recorded since.
pub fn judge_attempt(row: &CrmRow, known: &KnownRows, pass: ScanPurpose) -> DueVerdict {
    let begun = row.text("created_at").unwrap_or_default();
    let invoice = row.text("invoice_id").unwrap_or_default();
    let answers = |payment: &CrmRow| {
        payment.text("paymentmode") == row.text("payment_gateway")
            && payment.text("daterecorded").is_some_and(|recorded| recorded >= begun)
    };
    let answered = known.rows("invoicepaymentrecords", "invoiceid", invoice).iter().any(answers);
    let met = DueMark::Met(begun.to_owned());
    if answered { DueVerdict::Note(met) } else { DueVerdict::Tell(met).in_pass(pass, begun) }
}
