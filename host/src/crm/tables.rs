//! The tables of the CRM that are read, with their columns and rules, as data.
//!
//! Names have no prefix: `invoices` is `tblinvoices` on most installations. A column that is not
//! named here is never read. So passwords, keys, signatures and IP addresses of visitors are never
//! read. Source: the schema of Perfex CRM 3.3.1, compared with 3.0.0.

pub mod lookups;
pub mod people;
pub mod sales;
pub mod support;
pub mod work;

use std::borrow::Cow;

use super::rules::{ChangeCondition, EventRule};

pub use sales::INVOICE_SUMMARY;

pub type ColumnNames = &'static [&'static str];

/// Writes a list of names without quotes and commas.
macro_rules! names {
    ($($name:ident)*) => { &[$(stringify!($name)),*] };
}
use names;

/// A table of the CRM, as far as it is read.
#[derive(Debug)]
pub struct CrmTable {
    /// The table's name, without prefix.
    pub name: &'static str,
    /// The column that identifies a row. It always holds whole numbers.
    pub key: &'static str,
    /// The column with the time when the row was created. A key may be used again, but not together
    /// with the same time.
    pub created: Option<&'static str>,
    /// The columns that are read, in this order, including the key.
    pub columns: ColumnNames,
    /// Those of `columns` that versions before 3.3.1 may lack.
    pub newer: ColumnNames,
    /// The beginning of the names of columns that modules of the CRM add. They are read, too.
    pub on_demand: Option<&'static str>,
    /// Columns whose change alone does not update the record.
    pub ignored: ColumnNames,
    /// Columns without a limit on their length. Only a digest of long texts in them is stored.
    pub long: ColumnNames,
    /// Rows of other tables that are read as part of each row.
    pub lists: &'static [ChildList],
    /// The values that are looked up in other tables for the data of each event.
    pub joins: &'static [TableJoin],
    /// The records that a row belongs to.
    pub parents: &'static [ParentTable],
    /// Whether older versions lack the whole table.
    pub newer_table: bool,
    /// The rules that say which events follow from which changes.
    pub rules: &'static [EventRule],
}

/// Rows of another table that are read as one column of a record, such as the lines of an invoice.
/// So a change of these rows is a change of the record. A record that is created or deleted
/// together with them is one occurrence.
#[derive(Debug, PartialEq, Eq)]
pub struct ChildList {
    /// The name of the column, which holds a JSON array of objects.
    pub field: &'static str,
    /// The table of the rows, without prefix.
    pub table: &'static str,
    /// The table between the list and the record, if the rows do not belong to the record directly.
    pub through: Option<ThroughTable>,
    /// The column with the key of the record. If there is a table between, it is a column of that
    /// table.
    pub parent: &'static str,
    /// Columns and the values that they must have, if the table serves several kinds of records.
    pub of: &'static [(&'static str, &'static str)],
    /// The columns of each object. Keys that the CRM changes whenever it saves the record are left
    /// out.
    pub columns: ColumnNames,
    /// The columns by which the objects are ordered, so that their order in the table does not
    /// matter.
    pub order: ColumnNames,
    /// The form in which the list is sent.
    pub form: ListForm,
    /// The columns that hold numbers.
    pub numbers: ColumnNames,
    /// Whether the list is stored in full. If not, only a digest of it is.
    pub kept: bool,
    /// With which events the list is sent.
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

/// The form in which a list is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListForm {
    /// An array of its objects.
    Objects,
    /// An array. Each object is the key of a row of this table, and goes out as its `id` and
    /// `name`.
    NamedRows(&'static str),
    /// An object: the values of custom fields by name.
    CustomFields,
    /// An object with a member for each line, named by the line's `id`: the values of the line's
    /// custom fields by name.
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
    /// Returns the column of the list's own table by which its rows are found.
    pub fn own_column(&self) -> &'static str {
        self.through.as_ref().map_or(self.parent, |through| through.column)
    }
}

/// The events with which a list is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListSending {
    /// Every event about the record.
    Always,
    /// Only the event about the list itself.
    OwnEvent,
}

/// A field that is looked up in another table.
#[derive(Debug)]
pub struct TableJoin {
    /// The field of the data.
    pub field: &'static str,
    /// The column with the key of a row in the other table.
    pub column: &'static str,
    /// The other table, without prefix.
    pub table: &'static str,
    /// The value that is taken from that row.
    pub takes: JoinTakes,
}

/// The value that a join takes from the other row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinTakes {
    /// The value of one column.
    Column(&'static str),
    /// A summary of an invoice.
    Invoice,
    /// The code of the currency of the other row.
    CurrencyName,
    /// A customer with its primary contact.
    Customer,
}

/// The record that a row belongs to.
#[derive(Debug)]
pub struct ParentTable {
    /// The table of the record, without prefix.
    pub table: &'static str,
    /// The column that holds the record's key.
    pub column: &'static str,
}

/// How much of a row is stored between two scans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchDepth {
    /// The content, to tell what changed.
    Content,
    /// Only the key, because events follow only from new rows or from dates.
    Keys,
}

/// Every table that is scanned. A table comes before the tables that belong to it, so that events
/// come in the order in which people create the records.
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

/// Small tables that most events refer to. They are read in full before a scan; see
/// [`super::known::KnownRows`].
pub const LOOKED_INTO: ColumnNames = names![currencies customers_groups customfields];

/// The table of custom fields.
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

/// Whether events of this type are second names of others. They are captured only for those that
/// name the type itself.
pub fn is_second_name(event_type: &str) -> bool {
    let mut rules = ALL.iter().flat_map(|table| table.rules);
    rules.any(|rule| rule.event == event_type && rule.alias_of.is_some())
}

/// Returns the table with this name without prefix.
pub fn find_table(name: &str) -> Option<&'static CrmTable> {
    ALL.iter().copied().find(|table| table.name == name)
}

impl CrmTable {
    /// Returns a table without any special properties.
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

    /// Returns the columns to read, given the columns that exist on this installation.
    pub fn columns_in(&self, existing: &[String]) -> Vec<Cow<'static, str>> {
        let is_there = |name: &&&str| existing.iter().any(|column| column == **name);
        let named = self.columns.iter().filter(is_there).map(|name| Cow::Borrowed(*name));
        let prefix = self.on_demand;
        let made = existing.iter().filter(|name| prefix.is_some_and(|p| name.starts_with(p)));
        named.chain(made.map(|name| Cow::Owned(name.clone()))).collect()
    }

    /// Returns the columns that every version has but this installation has not. If the key is
    /// among them, the table cannot be read.
    pub fn missing_in(&self, existing: &[String]) -> Vec<&'static str> {
        let needed = self.columns.iter().filter(|name| !self.newer.contains(name));
        needed.filter(|name| !existing.iter().any(|column| column == **name)).copied().collect()
    }

    /// Returns how much of a row is stored between two scans.
    pub fn watch(&self) -> WatchDepth {
        let mut conditions = self.rules.iter().flat_map(|rule| rule.when);
        let only_keys =
            conditions.all(|when| when.is_clock() || matches!(when, ChangeCondition::New(_)));
        // A table without rules is read because other tables refer to its content.
        if only_keys && !self.rules.is_empty() { WatchDepth::Keys } else { WatchDepth::Content }
    }

    /// Whether events follow from dates, so that unchanged rows matter, too.
    pub fn has_clock(&self) -> bool {
        let mut conditions = self.rules.iter().flat_map(|rule| rule.when);
        conditions.any(ChangeCondition::is_clock)
    }

    /// Returns the list that is read as this column.
    pub fn list(&self, field: &str) -> Option<&'static ChildList> {
        self.lists.iter().find(|list| list.field == field)
    }

    /// Whether a change of this column is a change of the row. It is not if the table ignores the
    /// column and no rule names it.
    pub fn counts(&self, column: &str) -> bool {
        let mut conditions = self.rules.iter().flat_map(|rule| rule.when);
        self.watch() == WatchDepth::Content
            && (!self.ignored.contains(&column) || conditions.any(|when| when.names(column)))
    }
}
