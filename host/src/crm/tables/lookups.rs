//! The short lists that other records point to.

use super::super::rules::lookups as rules;
use super::{CrmTable, names};

const LOOKUP: CrmTable = CrmTable { rules: rules::LOOKUP, ..CrmTable::PLAIN };

pub static LEADS_STATUS: CrmTable = CrmTable {
    name: "leads_status",
    columns: names![id name statusorder color isdefault],
    ..LOOKUP
};

pub static LEADS_SOURCES: CrmTable =
    CrmTable { name: "leads_sources", columns: names![id name], ..LOOKUP };

pub static TICKETS_STATUS: CrmTable = CrmTable {
    name: "tickets_status",
    key: "ticketstatusid",
    columns: names![ticketstatusid name isdefault statuscolor statusorder],
    ..LOOKUP
};

pub static TICKETS_PRIORITIES: CrmTable = CrmTable {
    name: "tickets_priorities",
    key: "priorityid",
    columns: names![priorityid name],
    ..LOOKUP
};

pub static CURRENCIES: CrmTable = CrmTable {
    name: "currencies",
    columns: names![id symbol name decimal_separator thousand_separator placement isdefault],
    ..LOOKUP
};

pub static CONTRACTS_TYPES: CrmTable =
    CrmTable { name: "contracts_types", columns: names![id name], ..LOOKUP };

pub static TAXES: CrmTable = CrmTable {
    name: "taxes",
    columns: names![id name taxrate],
    rules: rules::TAXES,
    ..CrmTable::PLAIN
};

pub static DEPARTMENTS: CrmTable = CrmTable {
    name: "departments",
    key: "departmentid",
    columns: names![departmentid name email hidefromclient],
    rules: rules::DEPARTMENTS,
    ..CrmTable::PLAIN
};

pub static PAYMENT_MODES: CrmTable = CrmTable {
    name: "payment_modes",
    columns: names![
        id name description invoices_only expenses_only selected_by_default active
    ],
    long: names![description],
    rules: rules::PAYMENT_MODES,
    ..CrmTable::PLAIN
};

pub static COUNTRIES: CrmTable = CrmTable {
    name: "countries",
    key: "country_id",
    columns: names![country_id iso2 short_name iso3 calling_code],
    ..CrmTable::PLAIN
};

pub static ITEMS_GROUPS: CrmTable =
    CrmTable { name: "items_groups", columns: names![id name], ..CrmTable::PLAIN };

/// Which custom fields there are. Their values stand in `customfieldsvalues`, and are read with
/// their records.
pub static CUSTOM_FIELDS: CrmTable = CrmTable {
    name: super::CUSTOM_FIELDS,
    columns: names![id fieldto name slug type active],
    newer_table: true,
    ..CrmTable::PLAIN
};

/// The names of the groups. Which customer is in which stands in `customer_groups`.
pub static CUSTOMERS_GROUPS: CrmTable =
    CrmTable { name: "customers_groups", columns: names![id name], ..CrmTable::PLAIN };
