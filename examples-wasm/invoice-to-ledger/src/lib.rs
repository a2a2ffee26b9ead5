//! `invoice.created` becomes a balanced double-entry booking; see the README.

use serde::{Deserialize, Serialize};
use waybill_guest::field::{Cents, Id};
use waybill_guest::{Draft, Event, Failure, Transform, config, export_module, log};

/// Status of an invoice that is not issued yet (`tblinvoices.status`).
const DRAFT: &str = "6";

#[derive(Deserialize)]
struct Invoice {
    id: Id,
    clientid: Id,
    formatted_number: Option<String>,
    date: String,
    currency_name: Option<String>,
    status: Option<Id>,
    subtotal: Cents,
    #[serde(default)]
    total_tax: Cents,
    total: Cents,
    discount_total: Option<Cents>,
    adjustment: Option<Cents>,
}

#[derive(Serialize)]
struct LedgerEntry {
    entry: String,
    date: String,
    reference: String,
    customer: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
    lines: Vec<Line>,
    debit: Cents,
    credit: Cents,
}

#[derive(Serialize)]
struct Line {
    account: String,
    debit: Cents,
    credit: Cents,
}

struct InvoiceToLedger;

impl Transform for InvoiceToLedger {
    fn apply(event: Event) -> Result<Vec<Draft>, Failure> {
        let invoice: Invoice = event.data()?;
        if invoice.status.as_ref().is_some_and(|status| status.as_str() == DRAFT) {
            log::info!(invoice = invoice.id; "not booked: the invoice is a draft");
            return Ok(Vec::new());
        }
        let entry = entry(invoice)?;
        Ok(vec![Draft::json(&entry)?.kind("ledger.entry")])
    }
}

fn entry(invoice: Invoice) -> Result<LedgerEntry, Failure> {
    let lines = lines(&invoice)?;
    let debit = sum(lines.iter().map(|line| line.debit))?;
    let credit = sum(lines.iter().map(|line| line.credit))?;
    if debit != credit {
        let message = format!("the parts come to {credit}, the total is {debit}");
        return Err(Failure::permanent("unbalanced", message).at("/total"));
    }
    Ok(LedgerEntry {
        entry: format!("invoice-{}", invoice.id),
        date: invoice.date,
        reference: invoice.formatted_number.unwrap_or_else(|| invoice.id.to_string()),
        customer: invoice.clientid,
        currency: invoice.currency_name.or(config::optional("currency")?),
        lines,
        debit,
        credit,
    })
}

/// What the customer owes on one side, what it is made of on the other. Lines of nothing are left
/// out.
fn lines(invoice: &Invoice) -> Result<Vec<Line>, Failure> {
    let discount = invoice.discount_total.unwrap_or_default();
    let revenue = invoice.subtotal.checked_sub(discount).ok_or_else(out_of_range)?;
    let owed = Cents::ZERO.checked_sub(invoice.total).ok_or_else(out_of_range)?;
    let bookings = [
        ("receivable", "1200", owed),
        ("revenue", "4000", revenue),
        ("tax", "2200", invoice.total_tax),
        ("adjustment", "4900", invoice.adjustment.unwrap_or_default()),
    ];
    let booked = bookings.into_iter().filter(|(.., credit)| *credit != Cents::ZERO);
    booked.map(|(key, default, credit)| line(key, default, credit)).collect()
}

/// A line on the account that the configuration gives. A negative credit is a debit: no line
/// carries a minus sign.
fn line(key: &str, default: &str, credit: Cents) -> Result<Line, Failure> {
    let account =
        config::optional::<String>(&format!("account_{key}"))?.unwrap_or_else(|| default.into());
    if credit > Cents::ZERO {
        return Ok(Line { account, debit: Cents::ZERO, credit });
    }
    let debit = Cents::ZERO.checked_sub(credit).ok_or_else(out_of_range)?;
    Ok(Line { account, debit, credit: Cents::ZERO })
}

fn sum(mut amounts: impl Iterator<Item = Cents>) -> Result<Cents, Failure> {
    amounts.try_fold(Cents::ZERO, Cents::checked_add).ok_or_else(out_of_range)
}

fn out_of_range() -> Failure {
    Failure::permanent("out_of_range", "an amount is too large to book")
}

export_module!(InvoiceToLedger: transform);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use waybill_guest::testing::{self, Host};

    use super::*;

    fn invoice() -> Value {
        json!({
            "id": "128", "clientid": "42", "formatted_number": "INV-000128", "date": "2026-04-20",
            "currency_name": "EUR", "status": "1", "subtotal": "400.00", "total_tax": "80.00",
            "total": "480.00", "discount_total": "0.00", "adjustment": "0.00",
        })
    }

    fn with(changes: &Value) -> Value {
        let mut invoice = invoice();
        for (key, value) in changes.as_object().unwrap() {
            invoice[key] = value.clone();
        }
        invoice
    }

    fn apply(data: Value) -> Result<Vec<Draft>, Failure> {
        InvoiceToLedger::apply(testing::event("invoice.created", data))
    }

    fn booked(data: Value) -> Value {
        let drafts = apply(data).unwrap();
        assert_eq!(drafts.len(), 1);
        testing::payload(&drafts[0])
    }

    #[test]
    fn entry_is_balanced_and_has_a_tax_line() {
        let expected = json!({
            "entry": "invoice-128", "date": "2026-04-20", "reference": "INV-000128",
            "customer": "42", "currency": "EUR",
            "lines": [
                {"account": "1200", "debit": "480.00", "credit": "0.00"},
                {"account": "4000", "debit": "0.00", "credit": "400.00"},
                {"account": "2200", "debit": "0.00", "credit": "80.00"},
            ],
            "debit": "480.00", "credit": "480.00",
        });
        assert_eq!(booked(invoice()), expected);
        let drafts = apply(invoice()).unwrap();
        assert_eq!(drafts[0].kind.as_deref(), Some("ledger.entry"));
        assert_eq!(drafts[0].subject, None);
    }

    #[test]
    fn numbers_are_taken_as_well_as_strings() {
        let numbers = with(&json!({
            "id": 128, "clientid": 42, "status": 1, "subtotal": 400, "total_tax": 80.0,
            "total": 480, "discount_total": null, "adjustment": null,
        }));
        assert_eq!(booked(numbers), booked(invoice()));
    }

    #[test]
    fn cents_are_exact() {
        let entry = booked(with(&json!({
            "subtotal": "0.10", "total_tax": "0.20", "total": "0.30",
        })));
        assert_eq!(entry["debit"], "0.30");
        assert_eq!(entry["credit"], "0.30");
    }

    #[test]
    fn discount_and_adjustment_are_booked() {
        let entry = booked(with(&json!({
            "discount_total": "40.00", "total_tax": "72.00", "adjustment": "-2.00",
            "total": "430.00",
        })));
        let expected = json!([
            {"account": "1200", "debit": "430.00", "credit": "0.00"},
            {"account": "4000", "debit": "0.00", "credit": "360.00"},
            {"account": "2200", "debit": "0.00", "credit": "72.00"},
            {"account": "4900", "debit": "2.00", "credit": "0.00"},
        ]);
        assert_eq!(entry["lines"], expected);
        assert_eq!(entry["debit"], entry["credit"]);
    }

    #[test]
    fn negative_invoice_turns_the_sides_around() {
        let entry = booked(with(&json!({
            "subtotal": "-400.00", "total_tax": "-80.00", "total": "-480.00",
        })));
        assert_eq!(
            entry["lines"][0],
            json!({"account": "1200", "debit": "0.00", "credit": "480.00"})
        );
        assert_eq!(entry["debit"], "480.00");
        assert_eq!(entry["credit"], "480.00");
    }

    #[test]
    fn parts_that_do_not_make_the_total_are_refused() {
        let failure = apply(with(&json!({"total": "480.01"}))).unwrap_err();
        let expected = "the parts come to 480.00, the total is 480.01";
        assert_eq!(failure, Failure::permanent("unbalanced", expected).at("/total"));
    }

    #[test]
    fn draft_invoice_is_not_booked() {
        let host = Host::new();
        assert_eq!(apply(with(&json!({"status": "6"}))), Ok(Vec::new()));
        assert_eq!(host.log()[0].fields, [("invoice".to_owned(), "128".to_owned())]);
    }

    #[test]
    fn accounts_and_currency_come_from_the_configuration() {
        let _host = Host::with_config(json!({"account_tax": 3806, "currency": "CHF"}));
        let entry = booked(with(&json!({"currency_name": null})));
        assert_eq!(entry["lines"][2]["account"], "3806");
        assert_eq!(entry["currency"], "CHF");
    }

    #[test]
    fn rounded_amount_is_refused_with_its_place() {
        let failure = apply(with(&json!({"total": "480.005"}))).unwrap_err();
        assert_eq!(failure.reason().code, "bad_payload");
        assert_eq!(failure.reason().pointer.as_deref(), Some("/total"));
    }
}
