//! Rules for offers, invoices and money.
//!
//! Invoices: 1 unpaid, 2 paid, 3 partially paid, 4 overdue, 5 cancelled, 6 draft. Estimates: 1
//! draft, 2 sent, 3 declined, 4 accepted, 5 expired. Proposals: 1 open, 2 declined, 3 accepted, 4
//! sent, 5 revised, 6 draft.

use super::ChangeCondition::{
    self, Becomes, Changed, Gone, Leaves, New, Renewed, Set, Unanswered, Updated,
};
use super::ValueCondition::{Above0, Below0, Is, IsSet, OneOf};
use super::{DueCondition, DueMoment, EventRule, RuleData};

/// The CRM's own cron says so in the status; where it is off, the date does.
const OVERDUE: ChangeCondition = ChangeCondition::Due(DueCondition {
    date: "duedate",
    moment: DueMoment::Passed,
    when: &[OneOf("status", &["1", "3"])],
    told: Some(("status", "4")),
});

pub const INVOICES: &[EventRule] = &[
    EventRule::new("invoice.created", &[New(&[])]),
    EventRule::new("invoice.recurring_created", &[New(&[IsSet("is_recurring_from")])]),
    EventRule::new("invoice.updated", &[Updated]),
    EventRule::new("invoice.sent", &[Becomes("sent", "1"), Renewed("datesend")]),
    EventRule::new("invoice.status_changed", &[Changed("status")]).data(RuleData::Change("status")),
    EventRule::new("invoice.paid", &[Becomes("status", "2")]),
    EventRule::new("invoice.partially_paid", &[Becomes("status", "3")]),
    EventRule::new("invoice.overdue", &[OVERDUE]),
    EventRule::new("invoice.cancelled", &[Becomes("status", "5")]),
    EventRule::new("invoice.uncancelled", &[Leaves("status", "5")]),
    REMINDED_BEFORE,
    REMINDED_AFTER,
    EventRule::new("invoice.deleted", &[Gone]),
];

const REMINDED_BEFORE: EventRule =
    EventRule::new("invoice.reminder_sent", &[Renewed("last_due_reminder")])
        .data(RuleData::Reminder("due"));

const REMINDED_AFTER: EventRule =
    EventRule::new("invoice.reminder_sent", &[Renewed("last_overdue_reminder")])
        .data(RuleData::Reminder("overdue"));

pub const PAYMENTS: &[EventRule] = &[
    EventRule::new("payment.created", &[New(&[])]),
    EventRule::new("payment.received", &[New(&[Above0("amount")])]).alias_of("payment.created"),
    EventRule::new("invoice.payment_added", &[New(&[])])
        .alias_of("payment.created")
        .about("invoices", "payment"),
    EventRule::new("payment.refunded", &[New(&[Below0("amount")])]),
    EventRule::new("payment.updated", &[Updated]),
    EventRule::new("payment.deleted", &[Gone]),
];

pub const PAYMENT_ATTEMPTS: &[EventRule] =
    &[EventRule::new("payment.failed", &[Unanswered]).data(RuleData::Attempt)];

/// The CRM marks an estimate when it reminds of it.
const EXPIRING: ChangeCondition = ChangeCondition::Due(DueCondition {
    date: "expirydate",
    moment: DueMoment::NearAsEstimates,
    when: &[Is("status", "2")],
    told: Some(("is_expiry_notified", "1")),
});

pub const ESTIMATES: &[EventRule] = &[
    EventRule::new("estimate.created", &[New(&[])]),
    EventRule::new("estimate.updated", &[Updated]),
    EventRule::new(
        "estimate.sent",
        &[Becomes("sent", "1"), Renewed("datesend"), Becomes("status", "2")],
    ),
    EventRule::new("estimate.status_changed", &[Changed("status")])
        .data(RuleData::Change("status")),
    EventRule::new("estimate.accepted", &[Becomes("status", "4")]),
    EventRule::new("estimate.declined", &[Becomes("status", "3")]),
    EventRule::new("estimate.converted", &[Set("invoiceid")]).data(RuleData::Invoice("invoiceid")),
    EventRule::new("estimate.expiring", &[EXPIRING]),
    EventRule::new("estimate.expired", &[Becomes("status", "5")]),
    EventRule::new("estimate.deleted", &[Gone]),
];

pub const PROPOSALS: &[EventRule] = &[
    EventRule::new("proposal.created", &[New(&[])]),
    EventRule::new("proposal.updated", &[Updated]),
    EventRule::new("proposal.sent", &[Becomes("status", "4")]),
    EventRule::new("proposal.status_changed", &[Changed("status")])
        .data(RuleData::Change("status")),
    EventRule::new("proposal.accepted", &[Becomes("status", "3")]),
    EventRule::new("proposal.declined", &[Becomes("status", "2")]),
    EventRule::new("proposal.converted", &[Set("invoice_id"), Set("estimate_id")]),
    EventRule::new("proposal.deleted", &[Gone]),
];

pub const PROPOSAL_COMMENTS: &[EventRule] =
    &[EventRule::new("proposal.comment_added", &[New(&[])]).about("proposals", "comment")];

/// Only these three kinds of document leave a row when they are opened; contracts do not.
pub const VIEWS: &[EventRule] = &[
    EventRule::new("invoice.viewed", &[New(&[Is("rel_type", "invoice")])])
        .data(RuleData::View("invoices")),
    EventRule::new("estimate.viewed", &[New(&[Is("rel_type", "estimate")])])
        .data(RuleData::View("estimates")),
    EventRule::new("proposal.viewed", &[New(&[Is("rel_type", "proposal")])])
        .data(RuleData::View("proposals")),
];

pub const CREDIT_NOTES: &[EventRule] = &[
    EventRule::new("credit_note.created", &[New(&[])]),
    EventRule::new("credit_note.updated", &[Updated]),
    EventRule::new("credit_note.status_changed", &[Changed("status")])
        .data(RuleData::Change("status")),
    EventRule::new("credit_note.deleted", &[Gone]),
];

pub const CREDITS: &[EventRule] =
    &[EventRule::new("credit_note.credits_applied", &[New(&[])]).about("creditnotes", "credit")];

/// A payout of a credit note is also how money goes back to a customer.
pub const CREDIT_NOTE_REFUNDS: &[EventRule] = &[
    EventRule::new("credit_note.refund_created", &[New(&[])]).about("creditnotes", "refund"),
    EventRule::new("payment.refunded", &[New(&[])]).data(RuleData::Refund),
    EventRule::new("credit_note.refund_deleted", &[Gone]).about("creditnotes", "refund"),
];

/// The status mirrors the gateway's, which spells `canceled`.
pub const SUBSCRIPTIONS: &[EventRule] = &[
    EventRule::new("subscription.created", &[New(&[])]),
    EventRule::new("subscription.updated", &[Updated]),
    EventRule::new(
        "subscription.activated",
        &[Set("date_subscribed"), Becomes("status", "active")],
    ),
    EventRule::new("subscription.past_due", &[Becomes("status", "past_due")]),
    EventRule::new("subscription.cancelled", &[Becomes("status", "canceled")]),
    EventRule::new("subscription.deleted", &[Gone]),
];

pub const EXPENSES: &[EventRule] = &[
    EventRule::new("expense.created", &[New(&[])]),
    EventRule::new("expense.recurring_created", &[New(&[IsSet("recurring_from")])]),
    EventRule::new("expense.updated", &[Updated]),
    EventRule::new("expense.converted", &[Set("invoiceid")]).data(RuleData::Invoice("invoiceid")),
    EventRule::new("expense.deleted", &[Gone]),
];

pub const ITEMS: &[EventRule] = &[
    EventRule::new("item.created", &[New(&[])]),
    EventRule::new("item.updated", &[Updated]),
    EventRule::new("item.deleted", &[Gone]),
];
