//! Offers, invoices, money, and what hangs on them.

use super::super::rules::sales as rules;
use super::{
    ChildList, CrmTable, JoinTakes, ListForm, ListSending, ParentTable, TableJoin, ThroughTable,
    custom_fields, names,
};

/// The lines of a document of that kind.
const fn items(of: &'static [(&'static str, &'static str)]) -> ChildList {
    ChildList {
        field: "items",
        table: "itemable",
        through: None,
        parent: "rel_id",
        of,
        columns: names![
            id rel_id rel_type description long_description qty rate unit item_order
        ],
        order: names![item_order id],
        form: ListForm::Objects,
        numbers: names![id rel_id qty rate item_order],
        kept: false,
        sent: ListSending::Always,
    }
}

/// The taxes of its lines. The CRM writes them anew with new keys at each saving.
const fn taxes(of: &'static [(&'static str, &'static str)]) -> ChildList {
    ChildList {
        field: "item_taxes",
        table: "item_tax",
        columns: names![itemid taxrate taxname],
        order: names![itemid taxname taxrate],
        numbers: names![itemid taxrate],
        ..items(of)
    }
}

/// The custom fields of its lines.
const fn item_custom_fields(of: &'static [(&'static str, &'static str)]) -> ChildList {
    ChildList {
        field: "item_custom_fields",
        through: Some(ThroughTable { table: "itemable", key: "id", column: "relid" }),
        parent: "rel_id",
        columns: names![relid fieldid value],
        order: names![relid fieldid],
        form: ListForm::LineCustomFields,
        ..custom_fields(of)
    }
}

/// Everything that hangs on a document of that kind.
macro_rules! document_lists {
    ($kind:literal) => {
        [
            items(&[("rel_type", $kind)]),
            taxes(&[("rel_type", $kind)]),
            item_custom_fields(&[("rel_type", $kind), ("fieldto", "items")]),
            custom_fields(&[("fieldto", $kind)]),
        ]
    };
}

/// The code of the currency of a document.
const CURRENCY_NAME: TableJoin = TableJoin {
    field: "currency_name",
    column: "currency",
    table: "currencies",
    takes: JoinTakes::Column("name"),
};

/// Whom a document is for.
const CUSTOMER: TableJoin = TableJoin {
    field: "customer",
    column: "clientid",
    table: "clients",
    takes: JoinTakes::Customer,
};

/// The invoice that a payment is of, and the currency of both.
const fn of_invoice(column: &'static str) -> [TableJoin; 2] {
    [
        TableJoin { field: "invoice", column, table: "invoices", takes: JoinTakes::Invoice },
        TableJoin {
            field: "currency_name",
            column,
            table: "invoices",
            takes: JoinTakes::CurrencyName,
        },
    ]
}

pub static INVOICES: CrmTable = CrmTable {
    name: "invoices",
    created: Some("datecreated"),
    columns: names![
        id sent datesend clientid deleted_customer_name number prefix number_format
        formatted_number datecreated date duedate currency subtotal total_tax total
        adjustment addedfrom status clientnote adminnote last_overdue_reminder
        last_due_reminder allowed_payment_modes discount_percent discount_total
        discount_type recurring recurring_type cycles total_cycles is_recurring_from
        last_recurring_date terms sale_agent billing_street billing_city billing_country
        project_id subscription_id
    ],
    newer: names![formatted_number],
    long: names![clientnote adminnote allowed_payment_modes terms],
    lists: &document_lists!("invoice"),
    joins: &[CURRENCY_NAME, CUSTOMER],
    rules: rules::INVOICES,
    ..CrmTable::PLAIN
};

pub static PAYMENTS: CrmTable = CrmTable {
    name: "invoicepaymentrecords",
    created: Some("daterecorded"),
    columns: names![
        id invoiceid amount paymentmode paymentmethod date daterecorded note transactionid
    ],
    long: names![note transactionid],
    joins: &of_invoice("invoiceid"),
    parents: &[ParentTable { table: "invoices", column: "invoiceid" }],
    rules: rules::PAYMENTS,
    ..CrmTable::PLAIN
};

/// What one needs to know of an invoice that something else points to.
pub const INVOICE_SUMMARY: super::ColumnNames =
    names![id formatted_number clientid project_id total status];

/// Begun payments through a gateway. Not before 3.0.5.
pub static PAYMENT_ATTEMPTS: CrmTable = CrmTable {
    name: "payment_attempts",
    created: Some("created_at"),
    columns: names![id reference invoice_id amount fee payment_gateway created_at],
    newer_table: true,
    joins: &of_invoice("invoice_id"),
    rules: rules::PAYMENT_ATTEMPTS,
    ..CrmTable::PLAIN
};

pub static ESTIMATES: CrmTable = CrmTable {
    name: "estimates",
    created: Some("datecreated"),
    columns: names![
        id sent datesend clientid deleted_customer_name project_id number prefix
        number_format formatted_number datecreated date expirydate currency subtotal
        total_tax total adjustment addedfrom status clientnote adminnote discount_percent
        discount_total discount_type invoiceid invoiced_date terms reference_no sale_agent
        is_expiry_notified acceptance_firstname acceptance_lastname acceptance_email
        acceptance_date
    ],
    newer: names![formatted_number],
    long: names![clientnote adminnote terms],
    lists: &document_lists!("estimate"),
    joins: &[CURRENCY_NAME, CUSTOMER],
    rules: rules::ESTIMATES,
    ..CrmTable::PLAIN
};

pub static PROPOSALS: CrmTable = CrmTable {
    name: "proposals",
    created: Some("datecreated"),
    columns: names![
        id subject addedfrom datecreated total subtotal total_tax adjustment
        discount_percent discount_total discount_type currency open_till date rel_id
        rel_type assigned proposal_to project_id country zip state city address email
        phone allow_comments status estimate_id invoice_id date_converted
        is_expiry_notified acceptance_firstname acceptance_lastname acceptance_email
        acceptance_date
    ],
    lists: &document_lists!("proposal"),
    joins: &[CURRENCY_NAME],
    rules: rules::PROPOSALS,
    ..CrmTable::PLAIN
};

pub static PROPOSAL_COMMENTS: CrmTable = CrmTable {
    name: "proposal_comments",
    created: Some("dateadded"),
    columns: names![id content proposalid staffid dateadded],
    long: names![content],
    parents: &[ParentTable { table: "proposals", column: "proposalid" }],
    rules: rules::PROPOSAL_COMMENTS,
    ..CrmTable::PLAIN
};

pub static CREDIT_NOTES: CrmTable = CrmTable {
    name: "creditnotes",
    created: Some("datecreated"),
    columns: names![
        id clientid number prefix number_format formatted_number datecreated date
        adminnote terms clientnote currency subtotal total_tax total adjustment addedfrom
        status project_id discount_percent discount_total discount_type reference_no
    ],
    newer: names![formatted_number],
    long: names![adminnote terms clientnote],
    lists: &document_lists!("credit_note"),
    joins: &[CURRENCY_NAME, CUSTOMER],
    rules: rules::CREDIT_NOTES,
    ..CrmTable::PLAIN
};

pub static CREDITS: CrmTable = CrmTable {
    name: "credits",
    created: Some("date_applied"),
    columns: names![id invoice_id credit_id staff_id date date_applied amount],
    parents: &[ParentTable { table: "creditnotes", column: "credit_id" }],
    rules: rules::CREDITS,
    ..CrmTable::PLAIN
};

pub static CREDIT_NOTE_REFUNDS: CrmTable = CrmTable {
    name: "creditnote_refunds",
    created: Some("created_at"),
    columns: names![
        id credit_note_id staff_id refunded_on payment_mode note amount created_at
    ],
    long: names![note],
    joins: &[TableJoin {
        field: "currency_name",
        column: "credit_note_id",
        table: "creditnotes",
        takes: JoinTakes::CurrencyName,
    }],
    parents: &[ParentTable { table: "creditnotes", column: "credit_note_id" }],
    rules: rules::CREDIT_NOTE_REFUNDS,
    ..CrmTable::PLAIN
};

/// Who opened which document. The address of the visitor (`view_ip`) is not read.
pub static VIEWS: CrmTable = CrmTable {
    name: "views_tracking",
    created: Some("date"),
    columns: names![id rel_id rel_type date],
    parents: &[
        ParentTable { table: "invoices", column: "rel_id" },
        ParentTable { table: "estimates", column: "rel_id" },
        ParentTable { table: "proposals", column: "rel_id" },
    ],
    rules: rules::VIEWS,
    ..CrmTable::PLAIN
};

pub static SUBSCRIPTIONS: CrmTable = CrmTable {
    name: "subscriptions",
    created: Some("created"),
    columns: names![
        id name description clientid date terms currency tax_id next_billing_cycle ends_at
        status quantity project_id created created_from date_subscribed
        in_test_environment last_sent_at
    ],
    newer: names![last_sent_at],
    long: names![description terms],
    joins: &[CURRENCY_NAME],
    rules: rules::SUBSCRIPTIONS,
    ..CrmTable::PLAIN
};

pub static EXPENSES: CrmTable = CrmTable {
    name: "expenses",
    created: Some("dateadded"),
    columns: names![
        id category currency amount tax tax2 reference_no note expense_name clientid
        project_id billable invoiceid paymentmode date recurring_type repeat_every
        recurring cycles total_cycles last_recurring_date send_invoice_to_customer
        recurring_from dateadded addedfrom
    ],
    long: names![note],
    lists: &[custom_fields(&[("fieldto", "expenses")])],
    joins: &[CURRENCY_NAME],
    rules: rules::EXPENSES,
    ..CrmTable::PLAIN
};

/// The price list. The CRM keeps its custom fields under `items_pr`; `items` are those of the lines
/// of documents. Prices in further currencies stand in columns that are made on demand.
pub static ITEMS: CrmTable = CrmTable {
    name: "items",
    columns: names![id description long_description rate tax tax2 unit group_id],
    on_demand: Some("rate_currency_"),
    long: names![description long_description],
    lists: &[custom_fields(&[("fieldto", "items_pr")])],
    rules: rules::ITEMS,
    ..CrmTable::PLAIN
};
