//! Which tables of the CRM are read, and what of them: a description as data, with the rules for
//! each.
//!
//! Names are without prefix: `invoices` is `tblinvoices` on most installations. A column that is
//! not named here is never read; so none that holds a password, a key, a signature or an address of
//! a visitor. Source: the schema of Perfex CRM 3.3.1 compared with 3.0.0.

pub mod lookups;
pub mod people;
pub mod sales;
pub mod support;
pub mod work;

use std::borrow::Cow;

use super::rules::{Rule, When};

pub use sales::INVOICE_SUMMARY;

pub type ColumnNames = &'static [&'static str];

/// A list of names without quotes and commas.
macro_rules! names {
    ($($name:ident)*) => { &[$(stringify!($name)),*] };
}
use names;

/// One table, or what is read of it.
#[derive(Debug)]
pub struct CrmTable {
    /// Its name without prefix.
    pub name: &'static str,
    /// The column that identifies a row. All are whole numbers.
    pub key: &'static str,
    /// The column that tells when the row was written. Keys may be used again; key and this are
    /// not.
    pub created: Option<&'static str>,
    /// What is read, in this order, the key among it.
    pub columns: ColumnNames,
    /// Those of `columns` that versions before 3.3.1 may lack.
    pub newer: ColumnNames,
    /// Columns beginning like this are made on demand, and read too.
    pub on_demand: Option<&'static str>,
    /// A change of these alone is no update of the record: the rules say so.
    pub ignored: ColumnNames,
    /// Columns without a limit on their length. Of long texts in them only a digest is kept.
    pub long: ColumnNames,
    /// Rows of other tables that are read as part of each row.
    pub lists: &'static [ChildList],
    /// What is looked up for the data of each event.
    pub joins: &'static [TableJoin],
    /// The records that a row belongs to.
    pub parents: &'static [ParentTable],
    /// Whether older versions lack the whole table.
    pub newer_table: bool,
    /// Which events follow from which changes.
    pub rules: &'static [Rule],
}

/// Rows of another table that belong to a record and are read as one column of it, such as the
/// lines of an invoice. So a change of them is a change of the record, and a record that comes or
/// goes with them is one occurrence, not two.
#[derive(Debug, PartialEq, Eq)]
pub struct ChildList {
    /// The column that they become: a JSON array of objects.
    pub field: &'static str,
    /// The table they stand in, without prefix.
    pub table: &'static str,
    /// The table between this one and the record, where its rows belong to rows that belong to the
    /// record.
    pub through: Option<ThroughTable>,
    /// The column that holds the key of the record; of the table between, if there is one.
    pub parent: &'static str,
    /// Columns and the values they must have, where a table serves several kinds of record.
    pub of: &'static [(&'static str, &'static str)],
    /// The columns of each object. Surrogate keys that the CRM gives anew at each saving are not
    /// among them.
    pub columns: ColumnNames,
    /// What they are ordered by, so that the order in the table does not matter.
    pub order: ColumnNames,
    /// How it goes out.
    pub form: ListForm,
    /// Those of `columns` that hold numbers.
    pub numbers: ColumnNames,
    /// Whether the old ones are kept in full; else as a digest.
    pub kept: bool,
    /// In which data they go out.
    pub sent: ListSending,
}

/// A table between a list and its record, such as the lines of an invoice.
#[derive(Debug, PartialEq, Eq)]
pub struct ThroughTable {
    /// The table, without prefix.
    pub table: &'static str,
    /// The column that identifies a row of it.
    pub key: &'static str,
    /// The column of the list that holds such a key.
    pub column: &'static str,
}

/// How a list goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListForm {
    /// An array of its objects.
    Objects,
    /// An array. Each object is the key of a row of this table, and goes out as its `id` and
    /// `name`.
    NamedRows(&'static str),
    /// An object: the values of custom fields by name.
    CustomFields,
    /// An object: by the `id` of the line, the values of its custom fields by name.
    LineCustomFields,
}

impl ListForm {
    /// Whether each object is the value of a custom field.
    pub fn holds_custom_fields(self) -> bool {
        matches!(self, Self::CustomFields | Self::LineCustomFields)
    }
}

#[cfg(test)]
impl ChildList {
    /// The column of its own table by which its rows are found.
    pub fn own_column(&self) -> &'static str {
        self.through.as_ref().map_or(self.parent, |through| through.column)
    }
}

/// In which data a list goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListSending {
    /// With every event about the record.
    Always,
    /// With the event about the list itself.
    OwnEvent,
}

/// A field that is looked up in another table.
#[derive(Debug)]
pub struct TableJoin {
    /// The field of the data.
    pub field: &'static str,
    /// The column that holds a key of the other table.
    pub column: &'static str,
    /// The other table, without prefix.
    pub table: &'static str,
    /// What is taken from there.
    pub takes: JoinTakes,
}

/// What a join takes from the other row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinTakes {
    /// The value of one column.
    Column(&'static str),
    /// An invoice in short.
    Invoice,
    /// The code of the currency of the other row.
    CurrencyName,
    /// A customer, with the contact that it is reached by.
    Customer,
}

/// The record that a row belongs to.
#[derive(Debug)]
pub struct ParentTable {
    /// Its table, without prefix.
    pub table: &'static str,
    /// The column that holds its key.
    pub column: &'static str,
}

/// How much of a row must be kept between two scans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchDepth {
    /// Its content, to see what changed.
    Content,
    /// That it is there: only new rows matter, or what the clock says of them.
    Keys,
}

/// Every table that is scanned. A record stands before what belongs to it, so events come in the
/// order in which people do things.
pub static ALL: &[&CrmTable] = &[
    &lookups::LEADS_STATUS,
    &lookups::LEADS_SOURCES,
    &lookups::TICKETS_STATUS,
    &lookups::TICKETS_PRIORITIES,
    &lookups::CURRENCIES,
    &lookups::CONTRACTS_TYPES,
    &lookups::TAXES,
    &lookups::DEPARTMENTS,
    &lookups::PAYMENT_MODES,
    &lookups::CUSTOMERS_GROUPS,
    &lookups::COUNTRIES,
    &lookups::ITEMS_GROUPS,
    &lookups::CUSTOM_FIELDS,
    &people::STAFF,
    &people::CLIENTS,
    &people::CONTACTS,
    &people::LEADS,
    &people::NOTES,
    &sales::ITEMS,
    &sales::PROPOSALS,
    &sales::PROPOSAL_COMMENTS,
    &sales::ESTIMATES,
    &sales::SUBSCRIPTIONS,
    &sales::INVOICES,
    &sales::PAYMENTS,
    &sales::PAYMENT_ATTEMPTS,
    &sales::CREDIT_NOTES,
    &sales::CREDITS,
    &sales::CREDIT_NOTE_REFUNDS,
    &sales::VIEWS,
    &sales::EXPENSES,
    &work::CONTRACTS,
    &work::CONTRACT_COMMENTS,
    &work::CONTRACT_RENEWALS,
    &work::PROJECTS,
    &work::MILESTONES,
    &work::PROJECT_MEMBERS,
    &work::TASKS,
    &work::TASK_ASSIGNED,
    &work::TASK_FOLLOWERS,
    &work::TASK_COMMENTS,
    &work::TASK_CHECKLIST_ITEMS,
    &work::TIMESHEETS,
    &support::TICKETS,
    &support::TICKET_REPLIES,
    &support::TICKET_ATTACHMENTS,
];

/// Small tables that many events look into. Best known in whole before a scan: see
/// [`super::known::KnownRows`].
pub const LOOKED_INTO: ColumnNames = names![currencies customers_groups customfields];

/// The table that says which custom fields there are.
pub const CUSTOM_FIELDS: &str = "customfields";

/// The values of a record's custom fields.
const fn custom_fields(of: &'static [(&'static str, &'static str)]) -> ChildList {
    ChildList {
        field: "custom_fields",
        table: "customfieldsvalues",
        through: None,
        parent: "relid",
        of,
        columns: names![fieldid value],
        order: names![fieldid],
        form: ListForm::CustomFields,
        numbers: &[],
        kept: true,
        sent: ListSending::Always,
    }
}

/// The table of that name, without prefix.
pub fn find_table(name: &str) -> Option<&'static CrmTable> {
    ALL.iter().copied().find(|table| table.name == name)
}

impl CrmTable {
    /// A table of which nothing special is known.
    const PLAIN: Self = Self {
        name: "",
        key: "id",
        created: None,
        columns: &[],
        newer: &[],
        on_demand: None,
        ignored: &[],
        long: &[],
        lists: &[],
        joins: &[],
        parents: &[],
        newer_table: false,
        rules: &[],
    };

    /// What to read, given the columns that the table has on this installation.
    pub fn columns_in(&self, existing: &[String]) -> Vec<Cow<'static, str>> {
        let is_there = |name: &&&str| existing.iter().any(|column| column == **name);
        let named = self.columns.iter().filter(is_there).map(|name| Cow::Borrowed(*name));
        let prefix = self.on_demand;
        let made = existing.iter().filter(|name| prefix.is_some_and(|p| name.starts_with(p)));
        named.chain(made.map(|name| Cow::Owned(name.clone()))).collect()
    }

    /// Columns that every version has and this installation does not. Where the key is among them,
    /// the table cannot be read.
    pub fn missing_in(&self, existing: &[String]) -> Vec<&'static str> {
        let needed = self.columns.iter().filter(|name| !self.newer.contains(name));
        needed.filter(|name| !existing.iter().any(|column| column == **name)).copied().collect()
    }

    /// How much of a row must be kept between two scans.
    pub fn watch(&self) -> WatchDepth {
        let mut conditions = self.rules.iter().flat_map(|rule| rule.when);
        let only_keys = conditions.all(|when| when.is_clock() || matches!(when, When::New(_)));
        // One without rules is read for what stands in it.
        if only_keys && !self.rules.is_empty() { WatchDepth::Keys } else { WatchDepth::Content }
    }

    /// Whether events follow from the passing of time, so that unchanged rows matter too.
    pub fn has_clock(&self) -> bool {
        let mut conditions = self.rules.iter().flat_map(|rule| rule.when);
        conditions.any(When::is_clock)
    }

    /// The list that is read as this column.
    pub fn list(&self, field: &str) -> Option<&'static ChildList> {
        self.lists.iter().find(|list| list.field == field)
    }

    /// Whether another content of the column makes the row another one. Not so for one that the
    /// rules ignore and none names.
    pub fn counts(&self, column: &str) -> bool {
        let mut conditions = self.rules.iter().flat_map(|rule| rule.when);
        self.watch() == WatchDepth::Content
            && (!self.ignored.contains(&column) || conditions.any(|when| when.names(column)))
    }
}
