//! `invoice.created` becomes an invoice of QuickBooks Online; see the README.

use std::collections::BTreeMap;

use billing::{Bill, BillLine, BillState};
use serde::{Deserialize, Serialize};
use waybill_guest::decimal::{Decimal, number};
use waybill_guest::{
    Dispatch, Draft, Event, Failure, Filter, Route, Transform, Verdict, config, export_module,
};

/// The operation of the preset `quickbooks` that makes an invoice.
const OPERATION: &str = "invoice_create";
/// Most characters of a `DocNumber`.
const LONGEST_NUMBER: usize = 21;

#[derive(Deserialize)]
struct Settings {
    /// Ids of customers in QuickBooks, by the ids of the CRM.
    customers: BTreeMap<String, String>,
    /// The id of the item that lines sell.
    item: String,
    /// The id of the item for an adjustment.
    #[serde(default)]
    adjustment_item: Option<String>,
    /// Codes and rates of taxes in QuickBooks, by the label of a tax.
    #[serde(default)]
    taxes: BTreeMap<String, TaxIds>,
    /// The tax code of a line without a tax.
    #[serde(default = "untaxed_code")]
    untaxed: String,
    #[serde(default)]
    currency: Option<String>,
}

#[derive(Deserialize)]
struct TaxIds {
    code: String,
    rate: String,
}

fn untaxed_code() -> String {
    "NON".to_owned()
}

/// An invoice as the API takes it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct QuickBooksInvoice {
    doc_number: String,
    customer_ref: Reference,
    txn_date: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_date: Option<String>,
    currency_ref: Reference,
    #[serde(skip_serializing_if = "Option::is_none")]
    bill_email: Option<EmailAddress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_memo: Option<Memo>,
    private_note: String,
    global_tax_calculation: &'static str,
    apply_tax_after_discount: bool,
    line: Vec<Line>,
    txn_tax_detail: TxnTaxDetail,
}

#[derive(Serialize)]
struct Reference {
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EmailAddress {
    address: String,
}

#[derive(Serialize)]
struct Memo {
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    #[serde(serialize_with = "number")]
    amount: Decimal,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    detail_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sales_item_line_detail: Option<SalesItemLineDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discount_line_detail: Option<DiscountLineDetail>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SalesItemLineDetail {
    item_ref: Reference,
    #[serde(serialize_with = "number")]
    qty: Decimal,
    #[serde(serialize_with = "number")]
    unit_price: Decimal,
    tax_code_ref: Reference,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DiscountLineDetail {
    percent_based: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TxnTaxDetail {
    #[serde(serialize_with = "number")]
    total_tax: Decimal,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tax_line: Vec<TaxLine>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TaxLine {
    #[serde(serialize_with = "number")]
    amount: Decimal,
    detail_type: &'static str,
    tax_line_detail: TaxLineDetail,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TaxLineDetail {
    tax_rate_ref: Reference,
    percent_based: bool,
    #[serde(serialize_with = "number")]
    tax_percent: Decimal,
    #[serde(serialize_with = "number")]
    net_amount_taxable: Decimal,
}

struct InvoiceToQuickBooks;

impl Filter for InvoiceToQuickBooks {
    fn check(event: Event) -> Result<Verdict, Failure> {
        Ok(match Bill::read(&event)?.state {
            BillState::Draft => Verdict::drop("the invoice is a draft"),
            BillState::Cancelled => Verdict::drop("the invoice is cancelled"),
            BillState::Issued => Verdict::Keep,
        })
    }
}

impl Transform for InvoiceToQuickBooks {
    fn apply(event: Event) -> Result<Vec<Draft>, Failure> {
        let invoice = make_invoice(Bill::read(&event)?, &config::all()?)?;
        Ok(vec![Draft::json(&invoice)?.kind("quickbooks.invoice")])
    }
}

impl Route for InvoiceToQuickBooks {
    fn plan(event: Event) -> Result<Vec<Dispatch>, Failure> {
        let endpoint: String = config::require("endpoint")?;
        let dispatch = Dispatch::to(endpoint).operation(OPERATION);
        // QuickBooks makes a second invoice of a repeat.
        Ok(vec![match event.subject {
            Some(invoice) => dispatch.dedupe_key(format!("invoice-{invoice}")),
            None => dispatch,
        }])
    }
}

fn make_invoice(bill: Bill, settings: &Settings) -> Result<QuickBooksInvoice, Failure> {
    let customer = settings.customers.get(bill.client.as_str()).cloned().ok_or_else(|| {
        let message = format!("the configuration's `customers` lacks `{}`", bill.client);
        Failure::permanent("no_customer", message).at("/clientid")
    })?;
    let currency =
        bill.currency.clone().or_else(|| settings.currency.clone()).ok_or_else(|| {
            let message = "the invoice has no `currency_name`, and the configuration no `currency`";
            Failure::permanent("no_currency", message).at("/currency_name")
        })?;
    let line = make_lines(&bill, settings)?;
    let tax_line = make_tax_lines(&bill, settings)?;
    let Bill { id, number, date, due, email, note, tax, discount, .. } = bill;
    if number.chars().count() > LONGEST_NUMBER {
        let message = format!("QuickBooks takes numbers of {LONGEST_NUMBER} characters at most");
        return Err(Failure::permanent("number_too_long", message).at("/formatted_number"));
    }
    Ok(QuickBooksInvoice {
        doc_number: number,
        customer_ref: Reference { value: customer },
        txn_date: date,
        due_date: due,
        currency_ref: Reference { value: currency },
        bill_email: email.map(|address| EmailAddress { address }),
        customer_memo: note.map(|value| Memo { value }),
        private_note: format!("CRM {id}"),
        global_tax_calculation: if tax_line.is_empty() { "NotApplicable" } else { "TaxExcluded" },
        apply_tax_after_discount: !discount.is_zero(),
        line,
        txn_tax_detail: TxnTaxDetail { total_tax: tax, tax_line },
    })
}

fn make_lines(bill: &Bill, settings: &Settings) -> Result<Vec<Line>, Failure> {
    let mut lines = Vec::with_capacity(bill.lines.len() + 2);
    for (place, line) in bill.lines.iter().enumerate() {
        let code = find_tax_code(place, line, settings)?;
        let detail = SalesItemLineDetail {
            item_ref: Reference { value: settings.item.clone() },
            qty: line.quantity,
            unit_price: line.rate,
            tax_code_ref: Reference { value: code },
        };
        lines.push(sales_line(line.gross, line.description.clone(), detail));
    }
    if !bill.adjustment.is_zero() {
        let item = settings.adjustment_item.as_ref().unwrap_or(&settings.item);
        let detail = SalesItemLineDetail {
            item_ref: Reference { value: item.clone() },
            qty: Decimal::ONE,
            unit_price: bill.adjustment,
            tax_code_ref: Reference { value: settings.untaxed.clone() },
        };
        lines.push(sales_line(bill.adjustment, "Adjustment".to_owned(), detail));
    }
    let discount = bill.discount.checked_add(bill.discount_after_tax).unwrap_or_default();
    if !discount.is_zero() {
        lines.push(Line {
            amount: discount,
            description: None,
            detail_type: "DiscountLineDetail",
            sales_item_line_detail: None,
            discount_line_detail: Some(DiscountLineDetail { percent_based: false }),
        });
    }
    Ok(lines)
}

fn sales_line(amount: Decimal, description: String, detail: SalesItemLineDetail) -> Line {
    Line {
        amount,
        description: (!description.is_empty()).then_some(description),
        detail_type: "SalesItemLineDetail",
        sales_item_line_detail: Some(detail),
        discount_line_detail: None,
    }
}

/// The tax code of a line. QuickBooks combines several taxes in one code of its own, so a line with several
/// is found by all their labels.
fn find_tax_code(place: usize, line: &BillLine, settings: &Settings) -> Result<String, Failure> {
    let label = line.tax_label();
    if label.is_empty() {
        return Ok(settings.untaxed.clone());
    }
    let found = settings.taxes.get(&label).map(|ids| ids.code.clone());
    found.ok_or_else(|| missing_tax(&label).at(format!("/items/{place}")))
}

fn missing_tax(label: &str) -> Failure {
    let message = format!("the configuration's `taxes` lacks `{label}`");
    Failure::permanent("no_tax_code", message)
}

/// One line for each tax, over all lines that have it.
fn make_tax_lines(bill: &Bill, settings: &Settings) -> Result<Vec<TaxLine>, Failure> {
    let mut taxes: BTreeMap<&str, (Decimal, Decimal, Decimal)> = BTreeMap::new();
    for line in &bill.lines {
        for tax in &line.taxes {
            let (amount, base, rate) = taxes.entry(&tax.label).or_default();
            *amount = amount.checked_add(tax.amount).unwrap_or_default();
            *base = base.checked_add(line.net).unwrap_or_default();
            *rate = tax.rate;
        }
    }
    let line = |(label, (amount, base, rate)): (&str, (Decimal, Decimal, Decimal))| {
        let ids = settings.taxes.get(label).ok_or_else(|| missing_tax(label).at("/item_taxes"))?;
        Ok(TaxLine {
            amount,
            detail_type: "TaxLineDetail",
            tax_line_detail: TaxLineDetail {
                tax_rate_ref: Reference { value: ids.rate.clone() },
                percent_based: true,
                tax_percent: rate,
                net_amount_taxable: base,
            },
        })
    };
    taxes.into_iter().map(line).collect()
}

export_module!(InvoiceToQuickBooks: filter, transform, route);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use waybill_guest::testing::{self, Host};

    use super::*;

    fn invoice() -> Value {
        json!({
            "id": "128", "clientid": "42", "formatted_number": "INV-000128", "date": "2026-04-20",
            "currency_name": "EUR", "status": "1", "clientnote": "Thanks",
            "subtotal": "400.00", "discount_total": "40.00", "discount_type": "before_tax",
            "total_tax": "72.00", "adjustment": "-2.00", "total": "430.00",
            "items": [
                {"id": "901", "description": "Scanner", "qty": "2.00", "rate": "180.00"},
                {"id": "902", "description": "Cradle", "qty": "2.00", "rate": "20.00"},
            ],
            "item_taxes": [
                {"itemid": "901", "taxrate": "20.00", "taxname": "VAT"},
                {"itemid": "902", "taxrate": "20.00", "taxname": "VAT"},
            ],
            "customer": {"email": "a@example.com"},
        })
    }

    fn host() -> Host {
        Host::with_config(json!({
            "endpoint": "books", "customers": {"42": "17"}, "item": "1", "adjustment_item": "2",
            "taxes": {"VAT 20%": {"code": "5", "rate": "9"}},
        }))
    }

    fn apply(data: Value) -> Result<Value, Failure> {
        let drafts = InvoiceToQuickBooks::apply(testing::event("invoice.created", data))?;
        Ok(testing::payload(&drafts[0]))
    }

    #[test]
    fn lines_less_discount_and_tax_come_to_the_total() {
        let _host = host();
        let made = apply(invoice()).unwrap();
        let amounts: Vec<&Value> =
            made["Line"].as_array().unwrap().iter().map(|line| &line["Amount"]).collect();
        assert_eq!(amounts, [&json!(360), &json!(40), &json!(-2), &json!(40)]);
        let tax = json!({"TotalTax": 72, "TaxLine": [{
            "Amount": 72, "DetailType": "TaxLineDetail", "TaxLineDetail": {
                "TaxRateRef": {"value": "9"}, "PercentBased": true, "TaxPercent": 20,
                "NetAmountTaxable": 360,
            },
        }]});
        assert_eq!(made["TxnTaxDetail"], tax);
        assert_eq!(made["ApplyTaxAfterDiscount"], true);
        assert_eq!(made["Line"][0]["SalesItemLineDetail"]["TaxCodeRef"]["value"], "5");
        assert_eq!(made["BillEmail"]["Address"], "a@example.com");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (key, value, code) in [
            ("clientid", json!("43"), "no_customer"),
            ("currency_name", json!(""), "no_currency"),
            ("formatted_number", json!("INV-2026-0000000000000128"), "number_too_long"),
            (
                "item_taxes",
                json!([{"itemid": 901, "taxrate": 20, "taxname": "GST"}]),
                "tax_differs",
            ),
        ] {
            let _host = host();
            let mut data = invoice();
            data[key] = value;
            assert_eq!(apply(data).unwrap_err().reason().code, code);
        }
        let mut data = invoice();
        data["item_taxes"][1]["taxname"] = json!("GST");
        let _host = host();
        let failure = apply(data).unwrap_err();
        assert_eq!(failure.reason().code, "no_tax_code");
        assert_eq!(failure.reason().pointer.as_deref(), Some("/items/1"));
    }

    #[test]
    fn an_invoice_is_sent_once() {
        let _host = host();
        let event = Event {
            subject: Some("128".to_owned()),
            ..testing::event("quickbooks.invoice", json!({}))
        };
        let expected = Dispatch::to("books").operation(OPERATION).dedupe_key("invoice-128");
        assert_eq!(InvoiceToQuickBooks::plan(event), Ok(vec![expected]));
    }
}
