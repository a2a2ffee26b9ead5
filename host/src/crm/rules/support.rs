//! Rules for tickets. Statuses: 1 open, 2 in progress, 3 answered, 4 on hold, 5 closed, and what
//! the CRM's owner adds.

use super::When::{Becomes, Changed, Gone, Leaves, New, Renewed, Set, Updated};
use super::{Data, Rule};

pub const TICKETS: &[Rule] = &[
    Rule::new("ticket.created", &[New(&[])]),
    Rule::new("ticket.updated", &[Updated]),
    Rule::new("ticket.assigned", &[Renewed("assigned")]).data(Data::Change("assigned")),
    Rule::new("ticket.priority_changed", &[Changed("priority")]).data(Data::Change("priority")),
    Rule::new("ticket.status_changed", &[Changed("status")]).data(Data::Change("status")),
    Rule::new("ticket.closed", &[Becomes("status", "5")]),
    Rule::new("ticket.reopened", &[Leaves("status", "5")]).data(Data::Change("status")),
    Rule::new("ticket.merged", &[Set("merged_ticket_id")]),
    Rule::new("ticket.deleted", &[Gone]),
];

pub const TICKET_REPLIES: &[Rule] =
    &[Rule::new("ticket.reply_added", &[New(&[])]).about("tickets", "reply")];

pub const TICKET_ATTACHMENTS: &[Rule] =
    &[Rule::new("ticket.attachment_added", &[New(&[])]).about("tickets", "attachment")];
