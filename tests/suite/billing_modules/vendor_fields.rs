//! Names and types of the fields that Xero and `QuickBooks` publish for an invoice, as far as a
//! request may set them: Xero's Invoice, `LineItem` and Contact, and Intuit's Invoice. They were
//! gathered from public code that uses these APIs; the vendors' own schema files were not at hand.

use serde_json::{Value, json};

/// Fields of Xero's Invoice.
pub(super) fn xero_invoice() -> Value {
    let contact = json!({
        "ContactID": "string", "ContactNumber": "string", "AccountNumber": "string",
        "ContactStatus": ["ACTIVE", "ARCHIVED", "GDPRREQUEST"], "Name": "string",
        "FirstName": "string", "LastName": "string", "EmailAddress": "string",
        "CompanyNumber": "string", "TaxNumber": "string", "DefaultCurrency": "string",
    });
    let line = json!({
        "LineItemID": "string", "Description": "string", "Quantity": "number",
        "UnitAmount": "number", "ItemCode": "string", "AccountCode": "string",
        "AccountID": "string", "TaxType": "string", "TaxAmount": "number", "LineAmount": "number",
        "DiscountRate": "number", "DiscountAmount": "number",
    });
    json!({
        "Type": ["ACCREC", "ACCPAY"], "Contact": contact, "LineItems": [line], "Date": "date",
        "DueDate": "date", "LineAmountTypes": ["Exclusive", "Inclusive", "NoTax"],
        "InvoiceNumber": "string", "Reference": "string", "BrandingThemeID": "string",
        "Url": "string", "CurrencyCode": "string", "CurrencyRate": "number",
        "Status": ["DRAFT", "SUBMITTED", "AUTHORISED"], "SentToContact": "boolean",
        "ExpectedPaymentDate": "date", "InvoiceID": "string",
    })
}

/// Fields of the Invoice of `QuickBooks`.
pub(super) fn quickbooks_invoice() -> Value {
    let reference = json!({"value": "string", "name": "string"});
    let sales = json!({
        "ItemRef": reference, "Qty": "number", "UnitPrice": "number", "TaxCodeRef": reference,
        "ClassRef": reference, "ServiceDate": "date", "ItemAccountRef": reference,
        "DiscountAmt": "number", "DiscountRate": "number", "TaxInclusiveAmt": "number",
    });
    let discount = json!({
        "PercentBased": "boolean", "DiscountPercent": "number", "DiscountAccountRef": reference,
        "ClassRef": reference, "TaxCodeRef": reference,
    });
    let kinds = ["SalesItemLineDetail", "DiscountLineDetail", "DescriptionOnly", "GroupLineDetail"];
    let line = json!({
        "Id": "string", "LineNum": "number", "Description": "string", "Amount": "number",
        "DetailType": kinds, "SalesItemLineDetail": sales, "DiscountLineDetail": discount,
    });
    let tax = json!({
        "Amount": "number", "DetailType": ["TaxLineDetail"],
        "TaxLineDetail": {"TaxRateRef": reference, "PercentBased": "boolean",
            "TaxPercent": "number", "NetAmountTaxable": "number", "TaxInclusiveAmount": "number",
            "OverrideDeltaAmount": "number"},
    });
    json!({
        "DocNumber": "string", "TxnDate": "date", "DueDate": "date", "CustomerRef": reference,
        "CurrencyRef": reference, "ExchangeRate": "number", "BillEmail": {"Address": "string"},
        "CustomerMemo": {"value": "string"}, "PrivateNote": "string", "Line": [line],
        "GlobalTaxCalculation": ["TaxExcluded", "TaxInclusive", "NotApplicable"],
        "ApplyTaxAfterDiscount": "boolean", "SalesTermRef": reference,
        "TxnTaxDetail": {"TxnTaxCodeRef": reference, "TotalTax": "number", "TaxLine": [tax]},
        "DepartmentRef": reference, "ClassRef": reference, "Deposit": "number",
    })
}

/// Fails the test where a value has a field that is not published, or a type that is not the
/// field's.
pub(super) fn assert_published(value: &Value, fields: &Value, place: &str) {
    match (fields, value) {
        (Value::Object(known), Value::Object(members)) => {
            for (name, member) in members {
                let field = known.get(name).unwrap_or_else(|| panic!("{place}/{name} is unknown"));
                assert_published(member, field, &format!("{place}/{name}"));
            }
        }
        (Value::Array(known), Value::Array(items)) => {
            for (n, item) in items.iter().enumerate() {
                assert_published(item, &known[0], &format!("{place}/{n}"));
            }
        }
        (Value::Array(words), Value::String(_)) => {
            assert!(words.contains(value), "{place}: {value} is none of {words:?}");
        }
        (Value::String(kind), _) => {
            let is_day = |text: &str| {
                let parts: Vec<usize> = text.split('-').map(str::len).collect();
                parts == [4, 2, 2] && text.bytes().all(|b| b.is_ascii_digit() || b == b'-')
            };
            let fits = match kind.as_str() {
                "string" => value.as_str().is_some_and(|text| !text.is_empty()),
                "date" => value.as_str().is_some_and(is_day),
                "number" => value.is_number(),
                _ => value.is_boolean(),
            };
            assert!(fits, "{place}: {value} is not a {kind}");
        }
        _ => panic!("{place}: {value} has another form than {fields}"),
    }
}
