//! Staff, customers and their contacts, leads, and notes.

use super::super::rules::people as rules;
use super::{ChildList, CrmTable, ListForm, ListSending, ParentTable, custom_fields, names};

pub static STAFF: CrmTable = CrmTable {
    name: "staff",
    key: "staffid",
    created: Some("datecreated"),
    columns: names![
        staffid email firstname lastname phonenumber datecreated profile_image last_login
        last_activity last_password_change admin role active default_language is_not_staff
        hourly_rate two_factor_auth_enabled
    ],
    ignored: names![last_login last_activity permissions],
    lists: &[
        custom_fields(&[("fieldto", "staff")]),
        ChildList {
            field: "permissions",
            table: "staff_permissions",
            parent: "staff_id",
            through: None,
            of: &[],
            columns: names![feature capability],
            order: names![feature capability],
            form: ListForm::Objects,
            numbers: &[],
            kept: true,
            sent: ListSending::OwnEvent,
        },
    ],
    rules: rules::STAFF,
    ..CrmTable::PLAIN
};

pub static CLIENTS: CrmTable = CrmTable {
    name: "clients",
    key: "userid",
    created: Some("datecreated"),
    columns: names![
        userid company vat phonenumber country city zip state address website datecreated
        active leadid billing_street billing_city billing_state billing_zip
        billing_country default_language default_currency registration_confirmed addedfrom
    ],
    ignored: names![groups],
    lists: &[
        custom_fields(&[("fieldto", "customers")]),
        ChildList {
            field: "groups",
            table: "customer_groups",
            parent: "customer_id",
            through: None,
            of: &[],
            columns: names![groupid],
            order: names![groupid],
            form: ListForm::NamedRows("customers_groups"),
            numbers: &[],
            kept: true,
            sent: ListSending::OwnEvent,
        },
    ],
    rules: rules::CLIENTS,
    ..CrmTable::PLAIN
};

pub static CONTACTS: CrmTable = CrmTable {
    name: "contacts",
    created: Some("datecreated"),
    columns: names![
        id userid is_primary firstname lastname email phonenumber title datecreated
        email_verified_at last_login last_password_change active profile_image direction
        invoice_emails estimate_emails credit_note_emails contract_emails task_emails
        project_emails ticket_emails
    ],
    ignored: names![last_login],
    lists: &[custom_fields(&[("fieldto", "contacts")])],
    parents: &[ParentTable { table: "clients", column: "userid" }],
    rules: rules::CONTACTS,
    ..CrmTable::PLAIN
};

/// The place on the board (`leadorder`) is not read.
pub static LEADS: CrmTable = CrmTable {
    name: "leads",
    created: Some("dateadded"),
    columns: names![
        id name title company description country zip city state address assigned
        dateadded from_form_id status source lastcontact dateassigned last_status_change
        addedfrom email website phonenumber date_converted lost junk last_lead_status
        is_public default_language client_id lead_value
    ],
    long: names![description],
    lists: &[custom_fields(&[("fieldto", "leads")])],
    rules: rules::LEADS,
    ..CrmTable::PLAIN
};

pub static NOTES: CrmTable = CrmTable {
    name: "notes",
    created: Some("dateadded"),
    columns: names![id rel_id rel_type description date_contacted addedfrom dateadded],
    long: names![description],
    parents: &[
        ParentTable { table: "clients", column: "rel_id" },
        ParentTable { table: "leads", column: "rel_id" },
    ],
    rules: rules::NOTES,
    ..CrmTable::PLAIN
};
