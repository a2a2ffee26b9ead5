//! Events that time brings: overdue, expiring, expired, and a payment that did not come.
//!
//! Each occurs once for a record and a date, and again only when the date is another. What was told
//! is remembered beside the row, in its [`DueMarks`]. Where the CRM itself says the same in a
//! column, be it before or after the calendar does, that is the same occurrence:
//!
//! ```text
//!   date comes ──► told, Announced ──► the CRM says so ──► Met   (not told again)
//!   the CRM says so ─────────────────► told ─────────────► Met   (the date is not told)
//!   known from the first scan ───────────────────────────► Met   (not told; the CRM's word still is)
//! ```

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Span};
use serde_json::{Map, Value};

use super::change::RowChange;
use super::derive::{RuleContext, ScanPurpose};
use super::known::KnownRows;
use super::row::CrmRow;
use super::rules::{Due, Moment};

/// How long a payment that was begun through a gateway may take before it counts as failed.
pub const GRACE: SignedDuration = SignedDuration::from_hours(1);

/// What is remembered of an event for one date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DueMark {
    /// The calendar is done with this date.
    Met(String),
    /// Told because of the date; the CRM has yet to say the same.
    Announced(String),
}

impl DueMark {
    fn date(&self) -> &str {
        match self {
            Self::Met(date) | Self::Announced(date) => date,
        }
    }
}

/// What is remembered of the events that time brings, for one row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DueMarks(Vec<(String, DueMark)>);

impl DueMarks {
    /// Whether there is nothing to remember, as for most rows.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&self, event: &str) -> Option<&DueMark> {
        self.0.iter().find(|(name, _)| name == event).map(|(_, mark)| mark)
    }

    fn is_for(&self, event: &str, date: &str) -> bool {
        self.get(event).is_some_and(|mark| mark.date() == date)
    }

    /// Remembers this of the event, instead of what was.
    pub fn set(&mut self, event: &str, mark: DueMark) {
        self.0.retain(|(name, _)| name != event);
        self.0.push((event.to_owned(), mark));
    }

    /// As it is stored: a JSON object, or nothing.
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

    /// From what was stored. What cannot be read is forgotten, at the price of telling once more.
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

/// What is to be done about an event that time brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DueVerdict {
    /// Nothing.
    Wait,
    /// Remember, but tell nobody.
    Note(DueMark),
    /// Tell it, and remember.
    Tell(DueMark),
}

/// Judges a condition on a date.
pub fn judge_due(
    due: &Due,
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
    /// The first scan tells nothing.
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

/// Whether the row is as it must be and its date lies to today as it must.
fn is_met(due: &Due, row: &CrmRow, date: &str, context: &RuleContext<'_>) -> bool {
    let Ok(date) = date.parse::<Date>() else { return false };
    let today = context.now.date();
    let within = |days: u16| {
        let first = date.checked_sub(Span::new().days(days));
        date >= today && first.is_ok_and(|first| first <= today)
    };
    let lies_so = match due.moment {
        Moment::Passed => date < today,
        Moment::NearAsContracts => within(context.options.contract_expiration_before),
        Moment::NearAsEstimates => within(context.options.send_estimate_expiry_reminder_before),
    };
    lies_so && due.when.iter().all(|condition| condition.holds(row))
}

/// Whether a begun payment has had its time and was not judged before.
pub fn is_ripe(row: &CrmRow, event: &str, marks: &DueMarks, context: &RuleContext<'_>) -> bool {
    let Some(begun) = row.text("created_at") else { return false };
    let end = begun.parse::<DateTime>().ok().and_then(|begun| begun.checked_add(GRACE).ok());
    !marks.is_for(event, begun) && end.is_some_and(|end| end < context.now)
}

/// Judges a begun payment that has had its time: a payment of the same invoice through the same
/// gateway, recorded since, answers it.
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
