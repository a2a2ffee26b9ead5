//! Rules for the short lists.

use super::When::{Gone, New, Updated};
use super::{Data, Rule};

pub(crate) const LOOKUP: &[Rule] =
    &[Rule::new("utility.lookup_changed", &[New(&[]), Updated, Gone]).data(Data::Lookup)];

pub(crate) const TAXES: &[Rule] =
    &[Rule::new("utility.tax_created", &[New(&[])]), Rule::new("utility.tax_updated", &[Updated])];

pub(crate) const DEPARTMENTS: &[Rule] = &[Rule::new("utility.department_created", &[New(&[])])];

pub(crate) const PAYMENT_MODES: &[Rule] = &[
    Rule::new("utility.payment_mode_created", &[New(&[])]),
    Rule::new("utility.payment_mode_updated", &[Updated]),
];
