//! `invoice.created` becomes an invoice of Xero's Accounting API; see the README.

use std::collections::BTreeMap;

use billing::{Bill, BillLine, BillState};
use serde::{Deserialize, Serialize};
use waybill_guest::decimal::{Decimal, number};
use waybill_guest::{
    Dispatch, Draft, Event, Failure, Filter, Route, Transform, Verdict, config, export_module,
};

/// The operation of the preset `xero` that makes an invoice, or changes the one with its number.
const OPERATION: &str = "invoice_store";
/// Xero's tax type of a line without a tax.
const NO_TAX: &str = "NONE";

#[derive(Deserialize)]
struct Settings {
    /// The code of the account for lines.
    account: String,
    /// The code of the account for discounts after tax and adjustments.
    #[serde(default)]
    adjustment_account: Option<String>,
    /// Xero's tax types, by the label of a line's taxes.
    #[serde(default)]
    tax_types: BTreeMap<String, String>,
    #[serde(default)]
    currency: Option<String>,
    #[serde(default)]
    drafts: bool,
}

/// An invoice as the API takes it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct XeroInvoice {
    #[serde(rename = "Type")]
    kind: &'static str,
    status: &'static str,
    invoice_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    contact: Contact,
    date: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_date: Option<String>,
    currency_code: String,
    line_amount_types: &'static str,
    line_items: Vec<LineItem>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Contact {
    contact_number: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tax_number: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LineItem {
    description: String,
    #[serde(serialize_with = "number")]
    quantity: Decimal,
    #[serde(serialize_with = "number")]
    unit_amount: Decimal,
    #[serde(serialize_with = "number", skip_serializing_if = "is_nothing")]
    discount_amount: Decimal,
    #[serde(serialize_with = "number")]
    line_amount: Decimal,
    account_code: String,
    tax_type: String,
    #[serde(serialize_with = "number")]
    tax_amount: Decimal,
}

fn is_nothing(amount: &Decimal) -> bool {
    amount.is_zero()
}

struct InvoiceToXero;

impl Filter for InvoiceToXero {
    fn check(event: Event) -> Result<Verdict, Failure> {
        let settings: Settings = config::all()?;
        Ok(match Bill::read(&event)?.state {
            BillState::Draft if !settings.drafts => Verdict::drop("the invoice is a draft"),
            BillState::Cancelled => Verdict::drop("the invoice is cancelled"),
            BillState::Draft | BillState::Issued => Verdict::Keep,
        })
    }
}

impl Transform for InvoiceToXero {
    fn apply(event: Event) -> Result<Vec<Draft>, Failure> {
        let invoice = make_invoice(Bill::read(&event)?, &config::all()?)?;
        Ok(vec![Draft::json(&invoice)?.kind("xero.invoice")])
    }
}

impl Route for InvoiceToXero {
    fn plan(_: Event) -> Result<Vec<Dispatch>, Failure> {
        let endpoint: String = config::require("endpoint")?;
        Ok(vec![Dispatch::to(endpoint).operation(OPERATION)])
    }
}

fn make_invoice(bill: Bill, settings: &Settings) -> Result<XeroInvoice, Failure> {
    let mut lines = Vec::with_capacity(bill.lines.len() + 2);
    for (place, line) in bill.lines.iter().enumerate() {
        lines.push(make_line(place, line, settings)?);
    }
    let less = Decimal::ZERO.checked_sub(bill.discount_after_tax).unwrap_or_default();
    for (text, amount) in [("Discount", less), ("Adjustment", bill.adjustment)] {
        lines.extend((!amount.is_zero()).then(|| make_extra(text, amount, settings)));
    }
    let currency = bill.currency.or_else(|| settings.currency.clone()).ok_or_else(|| {
        let message = "the invoice has no `currency_name`, and the configuration no `currency`";
        Failure::permanent("no_currency", message).at("/currency_name")
    })?;
    let name = bill.customer.ok_or_else(|| {
        let message = "the invoice has no customer: its source cannot join it";
        Failure::permanent("no_customer", message).at("/customer")
    })?;
    let contact = Contact {
        contact_number: bill.client.to_string(),
        name,
        email_address: bill.email,
        tax_number: bill.vat,
    };
    Ok(XeroInvoice {
        kind: "ACCREC",
        status: if bill.state == BillState::Draft { "DRAFT" } else { "AUTHORISED" },
        reference: (bill.number != bill.id.as_str()).then(|| format!("CRM {}", bill.id)),
        invoice_number: bill.number,
        contact,
        date: bill.date,
        due_date: bill.due,
        currency_code: currency,
        line_amount_types: "Exclusive",
        line_items: lines,
    })
}

fn make_line(place: usize, line: &BillLine, settings: &Settings) -> Result<LineItem, Failure> {
    let label = line.tax_label();
    let tax_type = if label.is_empty() {
        NO_TAX.to_owned()
    } else {
        settings.tax_types.get(&label).cloned().ok_or_else(|| {
            let message = format!("the configuration's `tax_types` lacks `{label}`");
            Failure::permanent("no_tax_type", message).at(format!("/items/{place}"))
        })?
    };
    Ok(LineItem {
        description: line.description.clone(),
        quantity: line.quantity,
        unit_amount: line.rate,
        discount_amount: line.discount,
        line_amount: line.net,
        account_code: settings.account.clone(),
        tax_type,
        tax_amount: line.tax,
    })
}

/// A line for an amount that belongs to no line of the invoice.
fn make_extra(text: &str, amount: Decimal, settings: &Settings) -> LineItem {
    let account = settings.adjustment_account.as_ref().unwrap_or(&settings.account);
    LineItem {
        description: text.to_owned(),
        quantity: Decimal::ONE,
        unit_amount: amount,
        discount_amount: Decimal::ZERO,
        line_amount: amount,
        account_code: account.clone(),
        tax_type: NO_TAX.to_owned(),
        tax_amount: Decimal::ZERO,
    }
}

export_module!(InvoiceToXero: filter, transform, route);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use waybill_guest::testing::{self, Host};

    use super::*;

    fn invoice() -> Value {
        json!({
            "id": "128", "clientid": "42", "formatted_number": "INV-000128", "date": "2026-04-20",
            "duedate": "2026-05-20", "currency_name": "EUR", "status": "1",
            "subtotal": "400.00", "discount_total": "40.00", "discount_type": "before_tax",
            "total_tax": "72.00", "adjustment": "-2.00", "total": "430.00",
            "items": [{"id": "901", "description": "Scanner", "qty": "2.00", "rate": "200.00"}],
            "item_taxes": [{"itemid": "901", "taxrate": "20.00", "taxname": "VAT"}],
            "customer": {"company": "Harbour", "email": "a@example.com", "vat": "EL1"},
        })
    }

    fn host() -> Host {
        Host::with_config(json!({
            "endpoint": "xero", "account": "200", "tax_types": {"VAT 20%": "OUTPUT2"},
        }))
    }

    fn apply(data: Value) -> Result<Value, Failure> {
        let drafts = InvoiceToXero::apply(testing::event("invoice.created", data))?;
        Ok(testing::payload(&drafts[0]))
    }

    #[test]
    fn lines_discount_and_tax_come_to_the_total() {
        let _host = host();
        let made = apply(invoice()).unwrap();
        let line = json!({
            "Description": "Scanner", "Quantity": 2, "UnitAmount": 200, "DiscountAmount": 40,
            "LineAmount": 360, "AccountCode": "200", "TaxType": "OUTPUT2", "TaxAmount": 72,
        });
        assert_eq!(made["LineItems"][0], line);
        assert_eq!(made["LineItems"][1]["LineAmount"], -2);
        assert_eq!(made["Reference"], "CRM 128");
        let contact = json!({
            "ContactNumber": "42", "Name": "Harbour", "EmailAddress": "a@example.com",
            "TaxNumber": "EL1",
        });
        assert_eq!(made["Contact"], contact);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (key, value, code) in [
            ("currency_name", json!(null), "no_currency"),
            ("customer", json!(null), "no_customer"),
            ("total", json!("430.01"), "unbalanced"),
        ] {
            let _host = host();
            let mut data = invoice();
            data[key] = value;
            assert_eq!(apply(data).unwrap_err().reason().code, code);
        }
        let _host = Host::with_config(json!({"account": "200"}));
        let failure = apply(invoice()).unwrap_err();
        assert_eq!(failure.reason().code, "no_tax_type");
        assert!(failure.reason().message.contains("`VAT 20%`"));
    }

    #[test]
    fn drafts_are_taken_if_the_configuration_says_so() {
        let mut data = invoice();
        data["status"] = json!("6");
        let event = testing::event("invoice.created", data.clone());
        let _host = host();
        assert_eq!(
            InvoiceToXero::check(event.clone()),
            Ok(Verdict::drop("the invoice is a draft"))
        );
        let _host = Host::with_config(json!({
            "account": "200", "drafts": true, "tax_types": {"VAT 20%": "OUTPUT2"},
        }));
        assert_eq!(InvoiceToXero::check(event), Ok(Verdict::Keep));
        assert_eq!(apply(data).unwrap()["Status"], "DRAFT");
    }
}
