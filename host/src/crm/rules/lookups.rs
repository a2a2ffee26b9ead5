//! Rules for the short lists.

use super::When::{Gone, New, Updated};
use super::{Data, Rule};

pub const LOOKUP: &[Rule] =
    &[Rule::new("utility.lookup_changed", &[New(&[]), Updated, Gone]).data(Data::Lookup)];

pub const TAXES: &[Rule] =
    &[Rule::new("utility.tax_created", &[New(&[])]), Rule::new("utility.tax_updated", &[Updated])];

pub const DEPARTMENTS: &[Rule] = &[Rule::new("utility.department_created", &[New(&[])])];

pub const PAYMENT_MODES: &[Rule] = &[
    Rule::new("utility.payment_mode_created", &[New(&[])]),
    Rule::new("utility.payment_mode_updated", &[Updated]),
];
