//! Rules for offers, invoices and money.
//!
//! Invoices: 1 unpaid, 2 paid, 3 partially paid, 4 overdue, 5 cancelled, 6 draft. Estimates: 1
//! draft, 2 sent, 3 declined, 4 accepted, 5 expired. Proposals: 1 open, 2 declined, 3 accepted, 4
//! sent, 5 revised, 6 draft.

use super::When::{self, Becomes, Changed, Gone, Leaves, New, Renewed, Set, Unanswered, Updated};
use super::Where::{Above0, Below0, Is, IsSet, OneOf};
use super::{Data, Due, Moment, Rule};

/// The CRM's own cron says so in the status; where it is off, the date does.
const OVERDUE: When = When::Due(Due {
    date: "duedate",
    moment: Moment::Passed,
    when: &[OneOf("status", &["1", "3"])],
    told: Some(("status", "4")),
});

pub const INVOICES: &[Rule] = &[
    Rule::new("invoice.created", &[New(&[])]),
    Rule::new("invoice.recurring_created", &[New(&[IsSet("is_recurring_from")])]),
    Rule::new("invoice.updated", &[Updated]),
    Rule::new("invoice.sent", &[Becomes("sent", "1"), Renewed("datesend")]),
    Rule::new("invoice.status_changed", &[Changed("status")]).data(Data::Change("status")),
    Rule::new("invoice.paid", &[Becomes("status", "2")]),
    Rule::new("invoice.partially_paid", &[Becomes("status", "3")]),
    Rule::new("invoice.overdue", &[OVERDUE]),
    Rule::new("invoice.cancelled", &[Becomes("status", "5")]),
    Rule::new("invoice.uncancelled", &[Leaves("status", "5")]),
    REMINDED_BEFORE,
    REMINDED_AFTER,
    Rule::new("invoice.deleted", &[Gone]),
];

const REMINDED_BEFORE: Rule =
    Rule::new("invoice.reminder_sent", &[Renewed("last_due_reminder")]).data(Data::Reminder("due"));

const REMINDED_AFTER: Rule =
    Rule::new("invoice.reminder_sent", &[Renewed("last_overdue_reminder")])
        .data(Data::Reminder("overdue"));

pub const PAYMENTS: &[Rule] = &[
    Rule::new("payment.created", &[New(&[])]),
    Rule::new("payment.received", &[New(&[Above0("amount")])]).alias_of("payment.created"),
    Rule::new("invoice.payment_added", &[New(&[])])
        .alias_of("payment.created")
        .about("invoices", "payment"),
    Rule::new("payment.refunded", &[New(&[Below0("amount")])]),
    Rule::new("payment.updated", &[Updated]),
    Rule::new("payment.deleted", &[Gone]),
];

pub const PAYMENT_ATTEMPTS: &[Rule] =
    &[Rule::new("payment.failed", &[Unanswered]).data(Data::Attempt)];

/// The CRM marks an estimate when it reminds of it.
const EXPIRING: When = When::Due(Due {
    date: "expirydate",
    moment: Moment::NearAsEstimates,
    when: &[Is("status", "2")],
    told: Some(("is_expiry_notified", "1")),
});

pub const ESTIMATES: &[Rule] = &[
    Rule::new("estimate.created", &[New(&[])]),
    Rule::new("estimate.updated", &[Updated]),
    Rule::new(
        "estimate.sent",
        &[Becomes("sent", "1"), Renewed("datesend"), Becomes("status", "2")],
    ),
    Rule::new("estimate.status_changed", &[Changed("status")]).data(Data::Change("status")),
    Rule::new("estimate.accepted", &[Becomes("status", "4")]),
    Rule::new("estimate.declined", &[Becomes("status", "3")]),
    Rule::new("estimate.converted", &[Set("invoiceid")]).data(Data::Invoice("invoiceid")),
    Rule::new("estimate.expiring", &[EXPIRING]),
    Rule::new("estimate.expired", &[Becomes("status", "5")]),
    Rule::new("estimate.deleted", &[Gone]),
];

pub const PROPOSALS: &[Rule] = &[
    Rule::new("proposal.created", &[New(&[])]),
    Rule::new("proposal.updated", &[Updated]),
    Rule::new("proposal.sent", &[Becomes("status", "4")]),
    Rule::new("proposal.status_changed", &[Changed("status")]).data(Data::Change("status")),
    Rule::new("proposal.accepted", &[Becomes("status", "3")]),
    Rule::new("proposal.declined", &[Becomes("status", "2")]),
    Rule::new("proposal.converted", &[Set("invoice_id"), Set("estimate_id")]),
    Rule::new("proposal.deleted", &[Gone]),
];

pub const PROPOSAL_COMMENTS: &[Rule] =
    &[Rule::new("proposal.comment_added", &[New(&[])]).about("proposals", "comment")];

/// Only these three kinds of document leave a row when they are opened; contracts do not.
pub const VIEWS: &[Rule] = &[
    Rule::new("invoice.viewed", &[New(&[Is("rel_type", "invoice")])]).data(Data::View("invoices")),
    Rule::new("estimate.viewed", &[New(&[Is("rel_type", "estimate")])])
        .data(Data::View("estimates")),
    Rule::new("proposal.viewed", &[New(&[Is("rel_type", "proposal")])])
        .data(Data::View("proposals")),
];

pub const CREDIT_NOTES: &[Rule] = &[
    Rule::new("credit_note.created", &[New(&[])]),
    Rule::new("credit_note.updated", &[Updated]),
    Rule::new("credit_note.status_changed", &[Changed("status")]).data(Data::Change("status")),
    Rule::new("credit_note.deleted", &[Gone]),
];

pub const CREDITS: &[Rule] =
    &[Rule::new("credit_note.credits_applied", &[New(&[])]).about("creditnotes", "credit")];

/// A payout of a credit note is also how money goes back to a customer.
pub const CREDIT_NOTE_REFUNDS: &[Rule] = &[
    Rule::new("credit_note.refund_created", &[New(&[])]).about("creditnotes", "refund"),
    Rule::new("payment.refunded", &[New(&[])]).data(Data::Refund),
    Rule::new("credit_note.refund_deleted", &[Gone]).about("creditnotes", "refund"),
];

/// The status mirrors the gateway's, which spells `canceled`.
pub const SUBSCRIPTIONS: &[Rule] = &[
    Rule::new("subscription.created", &[New(&[])]),
    Rule::new("subscription.updated", &[Updated]),
    Rule::new("subscription.activated", &[Set("date_subscribed"), Becomes("status", "active")]),
    Rule::new("subscription.past_due", &[Becomes("status", "past_due")]),
    Rule::new("subscription.cancelled", &[Becomes("status", "canceled")]),
    Rule::new("subscription.deleted", &[Gone]),
];

pub const EXPENSES: &[Rule] = &[
    Rule::new("expense.created", &[New(&[])]),
    Rule::new("expense.recurring_created", &[New(&[IsSet("recurring_from")])]),
    Rule::new("expense.updated", &[Updated]),
    Rule::new("expense.converted", &[Set("invoiceid")]).data(Data::Invoice("invoiceid")),
    Rule::new("expense.deleted", &[Gone]),
];

pub const ITEMS: &[Rule] = &[
    Rule::new("item.created", &[New(&[])]),
    Rule::new("item.updated", &[Updated]),
    Rule::new("item.deleted", &[Gone]),
];
