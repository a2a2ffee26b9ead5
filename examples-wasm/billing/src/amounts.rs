//! Divides the amounts of an invoice among its lines, to the cent.

use waybill_guest::Failure;
use waybill_guest::decimal::{Decimal, Rounding};

use crate::{BillLine, Invoice, Item, LineTax};

/// Xero and QuickBooks keep amounts with two decimals.
const CENTS: u32 = 2;

/// The lines, and the amounts beside them.
pub(crate) struct DividedAmounts {
    pub(crate) lines: Vec<BillLine>,
    pub(crate) discount: Decimal,
    pub(crate) discount_after_tax: Decimal,
    pub(crate) adjustment: Decimal,
}

/// Divides the amounts, and checks that they come to the total.
pub(crate) fn divide(invoice: &Invoice) -> Result<DividedAmounts, Failure> {
    let off_by_rounding = Decimal::new(invoice.items.len().try_into().unwrap_or(i128::MAX), CENTS);
    let off_by_rounding = off_by_rounding.ok_or_else(out_of_range)?;
    let gross = invoice.items.iter().map(gross).collect::<Option<Vec<Decimal>>>();
    let gross = gross.ok_or_else(out_of_range)?;
    let rounded = difference(invoice.subtotal, sum(gross.iter().copied())?)?;
    if is_beyond(rounded, off_by_rounding) {
        let message = format!("the lines come to {rounded} less than the subtotal");
        return Err(Failure::permanent("lines_differ", message).at("/subtotal"));
    }
    let all_discount = invoice.discount_total.unwrap_or_default();
    let is_before = invoice.discount_type.as_deref() == Some("before_tax");
    let discount = if is_before { all_discount } else { Decimal::ZERO };
    let discount_after_tax = if is_before { Decimal::ZERO } else { all_discount };
    let discounts = split(discount, &gross)?;
    let mut lines = Vec::with_capacity(gross.len());
    for ((item, gross), discount) in invoice.items.iter().zip(gross).zip(discounts) {
        lines.push(line(item, gross, discount)?);
    }
    add_taxes(invoice, &mut lines, off_by_rounding)?;
    let adjustment = invoice.adjustment.unwrap_or_default();
    let adjustment = adjustment.checked_add(rounded).ok_or_else(out_of_range)?;
    let divided = DividedAmounts { lines, discount, discount_after_tax, adjustment };
    divided.check_total(invoice.total)?;
    Ok(divided)
}

fn gross(item: &Item) -> Option<Decimal> {
    item.qty.checked_mul(item.rate)?.round(CENTS, Rounding::HalfUp)
}

fn line(item: &Item, gross: Decimal, discount: Decimal) -> Result<BillLine, Failure> {
    let below = item.long_description.as_deref().filter(|text| !text.trim().is_empty());
    let texts = [Some(item.description.as_str()), below].into_iter().flatten();
    Ok(BillLine {
        description: texts.collect::<Vec<&str>>().join("\n"),
        quantity: item.qty,
        rate: item.rate,
        gross,
        discount,
        net: difference(gross, discount)?,
        taxes: Vec::new(),
        tax: Decimal::ZERO,
    })
}

/// Divides the invoice's tax among the lines and their taxes.
fn add_taxes(
    invoice: &Invoice,
    lines: &mut [BillLine],
    off_by_rounding: Decimal,
) -> Result<(), Failure> {
    let mut exact = Vec::new();
    for (item, line) in invoice.items.iter().zip(&mut *lines) {
        for tax in invoice.item_taxes.iter().filter(|tax| tax.itemid == item.id) {
            exact.push(line.net.percent(tax.taxrate).ok_or_else(out_of_range)?);
            let label = format!("{} {}%", tax.taxname, tax.taxrate.normalized());
            line.taxes.push(LineTax { label, rate: tax.taxrate, amount: Decimal::ZERO });
        }
    }
    let rounded = difference(invoice.total_tax, sum(exact.iter().copied())?)?;
    if is_beyond(rounded, off_by_rounding) {
        let message = format!("the taxes of the lines come to {rounded} less than the total tax");
        return Err(Failure::permanent("tax_differs", message).at("/total_tax"));
    }
    let mut amounts = split(invoice.total_tax, &exact)?.into_iter();
    for line in lines {
        for tax in &mut line.taxes {
            tax.amount = amounts.next().unwrap_or_default();
        }
        line.tax = sum(line.taxes.iter().map(|tax| tax.amount))?;
    }
    Ok(())
}

impl DividedAmounts {
    fn check_total(&self, total: Decimal) -> Result<(), Failure> {
        let lines = self.lines.iter().flat_map(|line| [line.net, line.tax]);
        let all = sum(lines.chain([self.adjustment]))?;
        let all = difference(all, self.discount_after_tax)?;
        if all == total {
            return Ok(());
        }
        let message = format!("the parts come to {all}, the total is {total}");
        Err(Failure::permanent("unbalanced", message).at("/total"))
    }
}

/// Splits an amount; nothing has shares of nothing.
fn split(amount: Decimal, weights: &[Decimal]) -> Result<Vec<Decimal>, Failure> {
    if amount.is_zero() {
        return Ok(vec![Decimal::ZERO; weights.len()]);
    }
    amount.split(CENTS, weights).ok_or_else(|| {
        let message = format!("{amount} cannot be divided among the lines to the cent");
        Failure::permanent("lines_differ", message)
    })
}

/// Whether a number is further from 0 than a limit.
fn is_beyond(number: Decimal, limit: Decimal) -> bool {
    let size = if number.is_negative() { Decimal::ZERO.checked_sub(number) } else { Some(number) };
    size.is_none_or(|size| size > limit)
}

fn difference(one: Decimal, other: Decimal) -> Result<Decimal, Failure> {
    one.checked_sub(other).ok_or_else(out_of_range)
}

fn sum(mut amounts: impl Iterator<Item = Decimal>) -> Result<Decimal, Failure> {
    amounts.try_fold(Decimal::ZERO, Decimal::checked_add).ok_or_else(out_of_range)
}

fn out_of_range() -> Failure {
    Failure::permanent("out_of_range", "an amount is too large to book")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use waybill_guest::testing;

    use super::*;
    use crate::{Bill, BillState};

    fn invoice(changes: &Value) -> Value {
        let mut invoice = json!({
            "id": "128", "clientid": "42", "date": "2026-04-20", "status": "1",
            "subtotal": "100.00", "total_tax": "20.00", "total": "120.00",
            "items": [{"id": "1", "description": "A", "qty": "3", "rate": "33.333333"}],
            "item_taxes": [{"itemid": 1, "taxrate": "20.00", "taxname": "VAT"}],
        });
        for (key, value) in changes.as_object().unwrap() {
            invoice[key] = value.clone();
        }
        invoice
    }

    fn read(changes: &Value) -> Result<Bill, Failure> {
        Bill::read(&testing::event("invoice.created", invoice(changes)))
    }

    fn texts(amounts: impl Iterator<Item = Decimal>) -> Vec<String> {
        amounts.map(|amount| amount.to_string()).collect()
    }

    #[test]
    fn a_line_is_rounded_once() {
        let bill = read(&json!({})).unwrap();
        assert_eq!(texts(bill.lines.iter().map(|line| line.net)), ["100.00"]);
        assert_eq!(bill.lines[0].tax_label(), "VAT 20%");
        assert_eq!((bill.state, bill.number.as_str()), (BillState::Issued, "128"));
    }

    #[test]
    fn discount_and_tax_are_divided_to_the_cent() {
        let items = json!([
            {"id": 1, "description": "A", "qty": 1, "rate": "10.00"},
            {"id": 2, "description": "B", "qty": 1, "rate": "10.00"},
            {"id": 3, "description": "C", "qty": 1, "rate": "10.00"},
        ]);
        let taxes: Vec<Value> =
            (1..=3).map(|id| json!({"itemid": id, "taxrate": 7, "taxname": "T"})).collect();
        // 29.00 × 7 % = 2.03; each line alone would come to 0.68, 2.04 in all.
        let bill = read(&json!({
            "items": items, "item_taxes": taxes, "subtotal": "30.00", "discount_total": "1.00",
            "discount_type": "before_tax", "total_tax": "2.03", "total": "31.03",
        }))
        .unwrap();
        let discounts = texts(bill.lines.iter().map(|line| line.discount));
        assert_eq!(discounts, ["0.34", "0.33", "0.33"]);
        assert_eq!(texts(bill.lines.iter().map(|line| line.tax)), ["0.67", "0.68", "0.68"]);
    }

    #[test]
    fn a_discount_after_tax_and_an_adjustment_stay_apart() {
        let bill = read(&json!({
            "discount_total": "12.00", "discount_type": "after_tax", "adjustment": "-0.50",
            "total": "107.50",
        }))
        .unwrap();
        assert_eq!(bill.lines[0].discount, Decimal::ZERO);
        let apart = [bill.discount_after_tax, bill.adjustment];
        assert_eq!(texts(apart.into_iter()), ["12.00", "-0.50"]);
    }

    #[test]
    fn what_the_crm_rounded_differently_is_part_of_the_adjustment() {
        let items = json!([
            {"id": 1, "qty": "0.5", "rate": "0.01"}, {"id": 2, "qty": "0.5", "rate": "0.01"},
        ]);
        let bill = read(&json!({
            "items": items, "item_taxes": [], "subtotal": "0.01", "total_tax": "0.00",
            "total": "0.01",
        }))
        .unwrap();
        assert_eq!(bill.adjustment.to_string(), "-0.01");
    }

    #[test]
    fn what_does_not_add_up_is_refused_with_its_place() {
        for (changes, code, place) in [
            (json!({"items": []}), "no_lines", "/items"),
            (json!({"subtotal": "90.00"}), "lines_differ", "/subtotal"),
            (json!({"total_tax": "19.90", "total": "119.90"}), "tax_differs", "/total_tax"),
            (json!({"total": "120.01"}), "unbalanced", "/total"),
        ] {
            let failure = read(&changes).unwrap_err();
            assert_eq!(failure.reason().code, code, "{changes}");
            assert_eq!(failure.reason().pointer.as_deref(), Some(place), "{changes}");
        }
    }
}
