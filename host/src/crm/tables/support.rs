//! Tickets and their conversation.

use super::super::rules::support as rules;
use super::{CrmTable, ParentTable, custom_fields, names};

pub static TICKETS: CrmTable = CrmTable {
    name: "tickets",
    key: "ticketid",
    created: Some("date"),
    columns: names![
        ticketid adminreplying userid contactid merged_ticket_id email name department
        priority status service subject message admin date project_id lastreply clientread
        adminread assigned staff_id_replying cc
    ],
    ignored: names![adminreplying staff_id_replying clientread adminread],
    long: names![email name message],
    lists: &[custom_fields(&[("fieldto", "tickets")])],
    rules: rules::TICKETS,
    ..CrmTable::PLAIN
};

/// That a row belongs to a ticket.
const OF_TICKET: &[ParentTable] = &[ParentTable { table: "tickets", column: "ticketid" }];

pub static TICKET_REPLIES: CrmTable = CrmTable {
    name: "ticket_replies",
    created: Some("date"),
    columns: names![id ticketid userid contactid name email date message attachment admin],
    long: names![name email message],
    parents: OF_TICKET,
    rules: rules::TICKET_REPLIES,
    ..CrmTable::PLAIN
};

pub static TICKET_ATTACHMENTS: CrmTable = CrmTable {
    name: "ticket_attachments",
    created: Some("dateadded"),
    columns: names![id ticketid replyid file_name filetype dateadded],
    parents: OF_TICKET,
    rules: rules::TICKET_ATTACHMENTS,
    ..CrmTable::PLAIN
};
