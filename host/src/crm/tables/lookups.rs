//! The short lists that other records point to.

use super::super::rules::lookups as rules;
use super::{Table, names};

const LOOKUP: Table = Table { rules: rules::LOOKUP, ..Table::PLAIN };

pub static LEADS_STATUS: Table =
    Table { name: "leads_status", columns: names![id name statusorder color isdefault], ..LOOKUP };

pub static LEADS_SOURCES: Table =
    Table { name: "leads_sources", columns: names![id name], ..LOOKUP };

pub static TICKETS_STATUS: Table = Table {
    name: "tickets_status",
    key: "ticketstatusid",
    columns: names![ticketstatusid name isdefault statuscolor statusorder],
    ..LOOKUP
};

pub static TICKETS_PRIORITIES: Table = Table {
    name: "tickets_priorities",
    key: "priorityid",
    columns: names![priorityid name],
    ..LOOKUP
};

pub static CURRENCIES: Table = Table {
    name: "currencies",
    columns: names![id symbol name decimal_separator thousand_separator placement isdefault],
    ..LOOKUP
};

pub static CONTRACTS_TYPES: Table =
    Table { name: "contracts_types", columns: names![id name], ..LOOKUP };

pub static TAXES: Table =
    Table { name: "taxes", columns: names![id name taxrate], rules: rules::TAXES, ..Table::PLAIN };

pub static DEPARTMENTS: Table = Table {
    name: "departments",
    key: "departmentid",
    columns: names![departmentid name email hidefromclient],
    rules: rules::DEPARTMENTS,
    ..Table::PLAIN
};

pub static PAYMENT_MODES: Table = Table {
    name: "payment_modes",
    columns: names![
        id name description invoices_only expenses_only selected_by_default active
    ],
    long: names![description],
    rules: rules::PAYMENT_MODES,
    ..Table::PLAIN
};

pub static COUNTRIES: Table = Table {
    name: "countries",
    key: "country_id",
    columns: names![country_id iso2 short_name iso3 calling_code],
    ..Table::PLAIN
};

pub static ITEMS_GROUPS: Table =
    Table { name: "items_groups", columns: names![id name], ..Table::PLAIN };

/// Which custom fields there are. Their values stand in `customfieldsvalues`, and are read with their records.
pub static CUSTOM_FIELDS: Table = Table {
    name: super::CUSTOM_FIELDS,
    columns: names![id fieldto name slug type active],
    newer_table: true,
    ..Table::PLAIN
};

/// The names of the groups. Which customer is in which stands in `customer_groups`.
pub static CUSTOMERS_GROUPS: Table =
    Table { name: "customers_groups", columns: names![id name], ..Table::PLAIN };
