//! `payment.received` becomes a change of an ERP budget; see the README.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use waybill_guest::field::{Cents, Id};
use waybill_guest::{Draft, Event, Failure, Transform, config, export_module, log};

#[derive(Deserialize)]
struct Payment {
    id: Id,
    invoiceid: Id,
    amount: Cents,
    date: String,
    transactionid: Option<String>,
    invoice: Option<Invoice>,
}

/// The invoice paid, where the source joins it.
#[derive(Deserialize)]
struct Invoice {
    project_id: Option<Id>,
    currency_name: Option<String>,
}

#[derive(Serialize)]
struct Change {
    /// The same for every delivery of the payment, so that the ERP books it once.
    reference: String,
    budget: String,
    period: String,
    direction: Direction,
    amount: Cents,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
    invoice: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Increase,
    Decrease,
}

struct PaymentToBudget;

impl Transform for PaymentToBudget {
    fn apply(event: Event) -> Result<Vec<Draft>, Failure> {
        let payment: Payment = event.data()?;
        if payment.amount == Cents::ZERO {
            log::info!(payment = payment.id; "no change: the amount is nothing");
            return Ok(Vec::new());
        }
        Ok(vec![Draft::json(&change(payment)?)?.kind("budget.change")])
    }
}

fn change(payment: Payment) -> Result<Change, Failure> {
    let (direction, amount) = signed(payment.amount)?;
    let (project, currency) = match payment.invoice {
        Some(invoice) => (invoice.project_id.filter(|id| !id.is_none()), invoice.currency_name),
        None => (None, None),
    };
    Ok(Change {
        reference: format!("payment-{}", payment.id),
        budget: budget(project.as_ref())?,
        period: month(&payment.date)?,
        direction,
        amount,
        currency: currency.or(config::optional("currency")?),
        invoice: payment.invoiceid,
        project,
        transaction: payment.transactionid.filter(|text| !text.is_empty()),
    })
}

/// The CRM records money that goes back to a customer as a negative amount.
fn signed(amount: Cents) -> Result<(Direction, Cents), Failure> {
    if amount > Cents::ZERO {
        return Ok((Direction::Increase, amount));
    }
    let size = Cents::ZERO.checked_sub(amount).ok_or_else(|| {
        Failure::permanent("out_of_range", "the amount is too large").at("/amount")
    })?;
    Ok((Direction::Decrease, size))
}

/// The project's own budget, else the one for all.
fn budget(project: Option<&Id>) -> Result<String, Failure> {
    let by_project = config::optional::<BTreeMap<String, String>>("project_budgets")?;
    let own = project.and_then(|id| by_project?.remove(id.as_str()));
    own.map_or_else(|| config::require("budget"), Ok)
}

/// `2026-05` of `2026-05-03`.
fn month(date: &str) -> Result<String, Failure> {
    let parts: Vec<&str> = date.split('-').collect();
    match parts.as_slice() {
        [year, month, _] if year.len() == 4 && month.len() == 2 => Ok(format!("{year}-{month}")),
        _ => {
            let message = format!("`{date}` is not a date such as 2026-05-03");
            Err(Failure::permanent("bad_payload", message).at("/date"))
        }
    }
}

export_module!(PaymentToBudget: transform);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use waybill_guest::testing::{self, Host};

    use super::*;

    fn payment() -> Value {
        json!({
            "id": "503", "invoiceid": "128", "amount": "480.00", "date": "2026-05-03",
            "transactionid": "BANK-20260503-7781",
            "invoice": {"id": "128", "project_id": "9", "currency_name": "EUR"},
        })
    }

    fn with(changes: &Value) -> Value {
        let mut payment = payment();
        for (key, value) in changes.as_object().unwrap() {
            payment[key] = value.clone();
        }
        payment
    }

    fn apply(data: Value) -> Result<Vec<Draft>, Failure> {
        PaymentToBudget::apply(testing::event("payment.received", data))
    }

    fn changed(data: Value) -> Value {
        let drafts = apply(data).unwrap();
        assert_eq!(drafts.len(), 1);
        assert_eq!(drafts[0].kind.as_deref(), Some("budget.change"));
        testing::payload(&drafts[0])
    }

    fn host() -> Host {
        Host::with_config(json!({"budget": "SALES", "project_budgets": {"12": "ROLLOUT"}}))
    }

    #[test]
    fn payment_raises_the_budget_of_its_month() {
        let _host = host();
        let expected = json!({
            "reference": "payment-503", "budget": "SALES", "period": "2026-05",
            "direction": "increase", "amount": "480.00", "currency": "EUR", "invoice": "128",
            "project": "9", "transaction": "BANK-20260503-7781",
        });
        assert_eq!(changed(payment()), expected);
    }

    #[test]
    fn project_with_a_budget_of_its_own_changes_that() {
        let _host = host();
        for id in [json!("12"), json!(12)] {
            let change = changed(with(&json!({"invoice": {"project_id": id}})));
            assert_eq!(change["budget"], "ROLLOUT");
        }
    }

    #[test]
    fn negative_amount_lowers_the_budget() {
        let _host = host();
        let change = changed(with(&json!({"amount": -120})));
        assert_eq!(change["direction"], "decrease");
        assert_eq!(change["amount"], "120.00");
    }

    #[test]
    fn payment_without_its_invoice_is_enough() {
        let _host = host();
        let change = changed(with(&json!({"invoice": null, "transactionid": ""})));
        let expected = json!({
            "reference": "payment-503", "budget": "SALES", "period": "2026-05",
            "direction": "increase", "amount": "480.00", "invoice": "128",
        });
        assert_eq!(change, expected);
    }

    #[test]
    fn project_zero_is_none() {
        let _host = Host::with_config(json!({"budget": "SALES", "project_budgets": {"0": "X"}}));
        let change = changed(with(&json!({"invoice": {"project_id": 0}})));
        assert_eq!(change["budget"], "SALES");
        assert_eq!(change.get("project"), None);
    }

    #[test]
    fn payment_of_nothing_changes_nothing() {
        let _host = host();
        assert_eq!(apply(with(&json!({"amount": "0.00"}))), Ok(Vec::new()));
    }

    #[test]
    fn missing_budget_is_named() {
        let failure = apply(payment()).unwrap_err();
        assert_eq!(failure.reason().code, "config_missing");
        assert!(failure.reason().message.contains("`budget`"), "{failure:?}");
    }

    #[test]
    fn wrong_date_is_refused_with_its_place() {
        let _host = host();
        for date in ["", "03.05.2026", "2026-05", "2026-5-3"] {
            let failure = apply(with(&json!({"date": date}))).unwrap_err();
            assert_eq!(failure.reason().pointer.as_deref(), Some("/date"), "{date}");
        }
    }
}
