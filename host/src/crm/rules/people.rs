//! Rules for staff, customers, contacts, leads and notes.

use super::When::{Becomes, Changed, Gone, New, Renewed, Set, SetLater, Turns, Updated};
use super::Where::Is;
use super::{Data, Rule};

/// A role is a name for a set of permissions, so other permissions are another role: the derivation
/// rules say so.
pub const STAFF: &[Rule] = &[
    Rule::new("staff.created", &[New(&[])]),
    Rule::new("staff.updated", &[Updated]),
    Rule::new("staff.role_changed", &[Changed("role"), Changed("admin"), Changed("permissions")])
        .data(Data::Change("role")),
    Rule::new("staff.permissions_changed", &[Changed("permissions")])
        .data(Data::List("permissions")),
    Rule::new("staff.activated", &[Turns("active", "0", "1")]).data(Data::Change("active")),
    Rule::new("staff.deactivated", &[Turns("active", "1", "0")]).data(Data::Change("active")),
    Rule::new("staff.password_changed", &[Renewed("last_password_change")]),
    Rule::new("staff.login", &[Renewed("last_login")]),
    Rule::new("staff.deleted", &[Gone]).data(Data::Departure),
];

pub const CLIENTS: &[Rule] = &[
    Rule::new("customer.created", &[New(&[])]),
    Rule::new("customer.updated", &[Updated]),
    Rule::new("customer.status_changed", &[Changed("active")]).data(Data::Change("active")),
    Rule::new("customer.group_changed", &[Changed("groups")]).data(Data::List("groups")),
    Rule::new("customer.deleted", &[Gone]),
];

pub const CONTACTS: &[Rule] = &[
    Rule::new("contact.created", &[New(&[])]),
    Rule::new("customer.contact_added", &[New(&[])])
        .alias_of("contact.created")
        .about("clients", "contact"),
    Rule::new("contact.updated", &[Updated]),
    Rule::new("customer.contact_updated", &[Updated])
        .alias_of("contact.updated")
        .about("clients", "contact"),
    Rule::new("contact.status_changed", &[Changed("active")]).data(Data::Change("active")),
    Rule::new("contact.email_verified", &[SetLater("email_verified_at")]),
    Rule::new("contact.deleted", &[Gone]),
    Rule::new("customer.contact_deleted", &[Gone])
        .alias_of("contact.deleted")
        .about("clients", "contact"),
];

pub const LEADS: &[Rule] = &[
    Rule::new("lead.created", &[New(&[])]),
    Rule::new("lead.updated", &[Updated]),
    Rule::new("lead.assigned", &[Renewed("assigned")]).data(Data::Change("assigned")),
    Rule::new("lead.status_changed", &[Changed("status")]).data(Data::Change("status")),
    Rule::new("lead.converted", &[Set("date_converted")]).data(Data::Customer),
    Rule::new("lead.lost", &[Becomes("lost", "1")]),
    Rule::new("lead.junk", &[Becomes("junk", "1")]),
    Rule::new("lead.deleted", &[Gone]),
];

pub const NOTES: &[Rule] = &[
    Rule::new("note.created", &[New(&[])]),
    Rule::new("customer.note_added", &[New(&[Is("rel_type", "customer")])])
        .alias_of("note.created")
        .about("clients", "note"),
    Rule::new("lead.note_added", &[New(&[Is("rel_type", "lead")])])
        .alias_of("note.created")
        .about("leads", "note"),
    Rule::new("note.updated", &[Updated]),
    Rule::new("note.deleted", &[Gone]),
];
