//! Reads an invoice of the catalogue and divides its amounts among its lines; see the README.

mod amounts;

use serde::Deserialize;
use waybill_guest::decimal::Decimal;
use waybill_guest::field::Id;
use waybill_guest::{Event, Failure};

/// An invoice, with every amount on its line.
#[derive(Clone, Debug, PartialEq)]
pub struct Bill {
    /// Key of the invoice in the CRM.
    pub id: Id,
    /// Number as printed, or the id.
    pub number: String,
    /// Day of the invoice, `2026-04-20`.
    pub date: String,
    /// Last day to pay.
    pub due: Option<String>,
    /// ISO 4217 code.
    pub currency: Option<String>,
    /// What the customer may do with it.
    pub state: BillState,
    /// Key of the customer in the CRM.
    pub client: Id,
    /// The customer's company, or first and last name.
    pub customer: Option<String>,
    /// Address of the primary contact.
    pub email: Option<String>,
    /// Tax number of the customer.
    pub vat: Option<String>,
    /// Note for the customer.
    pub note: Option<String>,
    /// The lines.
    pub lines: Vec<BillLine>,
    /// Discount before tax, in all. It is also divided among the lines.
    pub discount: Decimal,
    /// Discount that the taxes do not know.
    pub discount_after_tax: Decimal,
    /// Correction added to the total, with what the CRM rounded differently.
    pub adjustment: Decimal,
    /// Tax in all.
    pub tax: Decimal,
    /// Amount in all.
    pub total: Decimal,
}

/// The states of an invoice that matter to an accounting system.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BillState {
    /// Not issued yet.
    Draft,
    /// Issued, whether paid or not.
    Issued,
    /// Withdrawn.
    Cancelled,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct BillLine {
    /// Its text, with the long one below it.
    pub description: String,
    /// How many.
    pub quantity: Decimal,
    /// Price of one.
    pub rate: Decimal,
    /// Quantity × rate, rounded to two decimals.
    pub gross: Decimal,
    /// Its part of the discount before tax.
    pub discount: Decimal,
    /// `gross` less `discount`.
    pub net: Decimal,
    /// Its taxes.
    pub taxes: Vec<LineTax>,
    /// Sum of its taxes.
    pub tax: Decimal,
}

/// One tax of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct LineTax {
    /// Name and rate, such as `VAT 20%`.
    pub label: String,
    /// Per cent.
    pub rate: Decimal,
    /// Its part of the invoice's tax.
    pub amount: Decimal,
}

impl BillLine {
    /// The labels of its taxes, such as `VAT 20% + Levy 0.5%`; empty without a tax.
    pub fn tax_label(&self) -> String {
        let labels: Vec<&str> = self.taxes.iter().map(|tax| tax.label.as_str()).collect();
        labels.join(" + ")
    }
}

/// An invoice as the catalogue describes it.
#[derive(Deserialize)]
struct Invoice {
    id: Id,
    clientid: Id,
    formatted_number: Option<String>,
    date: String,
    duedate: Option<String>,
    currency_name: Option<String>,
    status: Option<Id>,
    clientnote: Option<String>,
    subtotal: Decimal,
    total_tax: Decimal,
    total: Decimal,
    adjustment: Option<Decimal>,
    discount_total: Option<Decimal>,
    discount_type: Option<String>,
    #[serde(default)]
    items: Vec<Item>,
    #[serde(default)]
    item_taxes: Vec<ItemTax>,
    #[serde(default)]
    customer: Option<Customer>,
}

#[derive(Deserialize)]
struct Item {
    id: Id,
    #[serde(default)]
    description: String,
    #[serde(default)]
    long_description: Option<String>,
    qty: Decimal,
    rate: Decimal,
}

#[derive(Deserialize)]
struct ItemTax {
    itemid: Id,
    taxrate: Decimal,
    taxname: String,
}

#[derive(Default, Deserialize)]
struct Customer {
    company: Option<String>,
    vat: Option<String>,
    firstname: Option<String>,
    lastname: Option<String>,
    email: Option<String>,
}

impl Bill {
    /// Reads the invoice of an event.
    pub fn read(event: &Event) -> Result<Self, Failure> {
        let invoice: Invoice = event.data()?;
        if invoice.items.is_empty() {
            let message = "the invoice has no lines: its source cannot join them";
            return Err(Failure::permanent("no_lines", message).at("/items"));
        }
        let parts = amounts::divide(&invoice)?;
        let customer = invoice.customer.unwrap_or_default();
        let both = [customer.firstname, customer.lastname].map(filled);
        let person: Vec<String> = both.into_iter().flatten().collect();
        let person = (!person.is_empty()).then(|| person.join(" "));
        let state = match invoice.status.as_ref().map(Id::as_str) {
            Some("6") => BillState::Draft,
            Some("5") => BillState::Cancelled,
            Some(_) | None => BillState::Issued,
        };
        Ok(Self {
            number: filled(invoice.formatted_number).unwrap_or_else(|| invoice.id.to_string()),
            id: invoice.id,
            date: invoice.date,
            due: filled(invoice.duedate),
            currency: filled(invoice.currency_name),
            state,
            client: invoice.clientid,
            customer: filled(customer.company).or(person),
            email: filled(customer.email),
            vat: filled(customer.vat),
            note: filled(invoice.clientnote),
            lines: parts.lines,
            discount: parts.discount,
            discount_after_tax: parts.discount_after_tax,
            adjustment: parts.adjustment,
            tax: invoice.total_tax,
            total: invoice.total,
        })
    }
}

/// A text with something in it.
fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}
