//! Rules for tickets. Statuses: 1 open, 2 in progress, 3 answered, 4 on hold, 5 closed, and what
//! the CRM's owner adds.

use super::ChangeCondition::{Becomes, Changed, Gone, Leaves, New, Renewed, Set, Updated};
use super::{EventRule, RuleData};

pub const TICKETS: &[EventRule] = &[
    EventRule::new("ticket.created", &[New(&[])]),
    EventRule::new("ticket.updated", &[Updated]),
    EventRule::new("ticket.assigned", &[Renewed("assigned")]).data(RuleData::Change("assigned")),
    EventRule::new("ticket.priority_changed", &[Changed("priority")])
        .data(RuleData::Change("priority")),
    EventRule::new("ticket.status_changed", &[Changed("status")]).data(RuleData::Change("status")),
    EventRule::new("ticket.closed", &[Becomes("status", "5")]),
    EventRule::new("ticket.reopened", &[Leaves("status", "5")]).data(RuleData::Change("status")),
    EventRule::new("ticket.merged", &[Set("merged_ticket_id")]),
    EventRule::new("ticket.deleted", &[Gone]),
];

pub const TICKET_REPLIES: &[EventRule] =
    &[EventRule::new("ticket.reply_added", &[New(&[])]).about("tickets", "reply")];

pub const TICKET_ATTACHMENTS: &[EventRule] =
    &[EventRule::new("ticket.attachment_added", &[New(&[])]).about("tickets", "attachment")];
