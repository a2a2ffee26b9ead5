//! Rules for staff, customers, contacts, leads and notes.

use super::ChangeCondition::{Becomes, Changed, Gone, New, Renewed, Set, SetLater, Turns, Updated};
use super::ValueCondition::Is;
use super::{EventRule, RuleData};

/// A role is a name for a set of permissions, so other permissions are another role: the derivation
/// rules say so.
pub const STAFF: &[EventRule] = &[
    EventRule::new("staff.created", &[New(&[])]),
    EventRule::new("staff.updated", &[Updated]),
    EventRule::new(
        "staff.role_changed",
        &[Changed("role"), Changed("admin"), Changed("permissions")],
    )
    .data(RuleData::Change("role")),
    EventRule::new("staff.permissions_changed", &[Changed("permissions")])
        .data(RuleData::List("permissions")),
    EventRule::new("staff.activated", &[Turns("active", "0", "1")])
        .data(RuleData::Change("active")),
    EventRule::new("staff.deactivated", &[Turns("active", "1", "0")])
        .data(RuleData::Change("active")),
    EventRule::new("staff.password_changed", &[Renewed("last_password_change")]),
    EventRule::new("staff.login", &[Renewed("last_login")]),
    EventRule::new("staff.deleted", &[Gone]).data(RuleData::Departure),
];

pub const CLIENTS: &[EventRule] = &[
    EventRule::new("customer.created", &[New(&[])]),
    EventRule::new("customer.updated", &[Updated]),
    EventRule::new("customer.status_changed", &[Changed("active")])
        .data(RuleData::Change("active")),
    EventRule::new("customer.group_changed", &[Changed("groups")]).data(RuleData::List("groups")),
    EventRule::new("customer.deleted", &[Gone]),
];

pub const CONTACTS: &[EventRule] = &[
    EventRule::new("contact.created", &[New(&[])]),
    EventRule::new("customer.contact_added", &[New(&[])])
        .alias_of("contact.created")
        .about("clients", "contact"),
    EventRule::new("contact.updated", &[Updated]),
    EventRule::new("customer.contact_updated", &[Updated])
        .alias_of("contact.updated")
        .about("clients", "contact"),
    EventRule::new("contact.status_changed", &[Changed("active")]).data(RuleData::Change("active")),
    EventRule::new("contact.email_verified", &[SetLater("email_verified_at")]),
    EventRule::new("contact.deleted", &[Gone]),
    EventRule::new("customer.contact_deleted", &[Gone])
        .alias_of("contact.deleted")
        .about("clients", "contact"),
];

pub const LEADS: &[EventRule] = &[
    EventRule::new("lead.created", &[New(&[])]),
    EventRule::new("lead.updated", &[Updated]),
    EventRule::new("lead.assigned", &[Renewed("assigned")]).data(RuleData::Change("assigned")),
    EventRule::new("lead.status_changed", &[Changed("status")]).data(RuleData::Change("status")),
    EventRule::new("lead.converted", &[Set("date_converted")]).data(RuleData::Customer),
    EventRule::new("lead.lost", &[Becomes("lost", "1")]),
    EventRule::new("lead.junk", &[Becomes("junk", "1")]),
    EventRule::new("lead.deleted", &[Gone]),
];

pub const NOTES: &[EventRule] = &[
    EventRule::new("note.created", &[New(&[])]),
    EventRule::new("customer.note_added", &[New(&[Is("rel_type", "customer")])])
        .alias_of("note.created")
        .about("clients", "note"),
    EventRule::new("lead.note_added", &[New(&[Is("rel_type", "lead")])])
        .alias_of("note.created")
        .about("leads", "note"),
    EventRule::new("note.updated", &[Updated]),
    EventRule::new("note.deleted", &[Gone]),
];
