//! Rules for the short lists.

use super::ChangeCondition::{Gone, New, Updated};
use super::{EventRule, RuleData};

pub const LOOKUP: &[EventRule] =
    &[EventRule::new("utility.lookup_changed", &[New(&[]), Updated, Gone]).data(RuleData::Lookup)];

pub const TAXES: &[EventRule] = &[
    EventRule::new("utility.tax_created", &[New(&[])]),
    EventRule::new("utility.tax_updated", &[Updated]),
];

pub const DEPARTMENTS: &[EventRule] = &[EventRule::new("utility.department_created", &[New(&[])])];

pub const PAYMENT_MODES: &[EventRule] = &[
    EventRule::new("utility.payment_mode_created", &[New(&[])]),
    EventRule::new("utility.payment_mode_updated", &[Updated]),
];
