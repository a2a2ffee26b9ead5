//! The example modules for accounting and enrichment: what a receiver gets for a real event of the
//! catalogue, line by line and in sums.

mod vendor_fields;

use std::process::Command;

use bytes::Bytes;
use hyper::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::{binary, guest, text, with_manifest};
use waybill_tests::{Receiver, Reply, Settings, World};

use crate::golden_cases::example;
use crate::support::{endpoint_with, merged};
use vendor_fields::{assert_published, quickbooks_invoice, xero_invoice};

/// The example of an event type in the catalogue, with these members of its data changed.
async fn catalogue_event(world: &World, kind: &str, changes: &Value) -> Value {
    let known = world.get(&format!("/api/v1/event-types/{kind}")).await;
    let data = merged(known["example"].clone(), changes);
    json!({"type": kind, "resource": known["resource"], "resource_id": data["id"], "data": data})
}

async fn invoice(world: &World, changes: &Value) -> Value {
    catalogue_event(world, "invoice.created", changes).await
}

/// Starts a world with one example in one flow for invoices, to an endpoint with this preset.
async fn billing(
    backend: Backend,
    module: &str,
    preset: &str,
    config: &Value,
) -> Option<(World, Receiver)> {
    let component = example(module)?;
    let world = World::start(backend).await?;
    let receiver = Receiver::start().await;
    let answer = crate::modules::upload(&world, module, component).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    assert_eq!(answer.data()["cases"]["failed"], 0, "{}", answer.text());
    let own = json!({"kind": "api", "events": [], "settings": {"preset": preset}});
    world.endpoint(&endpoint_with("books", &receiver.url(""), &own)).await;
    let modules = json!([{"name": module, "config": config}]);
    let flow = json!({"name": "f", "events": ["invoice.*"], "modules": modules,
        "endpoints": ["books"]});
    world.post("/api/v1/flows", &flow).await;
    Some((world, receiver))
}

/// Adds amounts in cents, so that no binary fraction is added.
fn cents(amounts: impl Iterator<Item = f64>) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "amounts of invoices are small")]
    amounts.map(|amount| (amount * 100.0).round() as i64).sum()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

/// An invoice with a discount before tax, three lines whose thirds do not come out even, an
/// untaxed line and an adjustment.
fn uneven() -> Value {
    json!({
        "items": [
            {"id": "1", "description": "Licence", "long_description": "One year", "qty": "3",
             "rate": "33.335", "unit": "", "item_order": "1"},
            {"id": "2", "description": "Support", "qty": "1.5", "rate": "19.99"},
            {"id": "3", "description": "Postage", "qty": "1", "rate": "10.01"},
        ],
        "item_taxes": [
            {"itemid": "1", "taxrate": "20.00", "taxname": "VAT"},
            {"itemid": "2", "taxrate": "20.00", "taxname": "VAT"},
        ],
        // 100.01 + 29.99 + 10.01
        "subtotal": "140.01", "discount_total": "10.00", "discount_type": "before_tax",
        // 20 % of 130.00 less the discount's part
        "total_tax": "24.14", "adjustment": "-0.15", "total": "154.00",
    })
}

#[rstest]
#[tokio::test]
async fn xero_gets_the_lines_taxes_and_contact_of_an_invoice(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let config = json!({"endpoint": "books", "account": "200", "adjustment_account": "860",
        "tax_types": {"VAT 20%": "OUTPUT2"}});
    let set = billing(backend, "invoice-to-xero", "xero", &config).await;
    let Some((world, receiver)) = set else { return };
    world.event(&invoice(&world, &json!({})).await).await;
    let path = "/Invoices?summarizeErrors=true&unitdp=4";
    let sent = receiver.first(path).await.json();
    let made = &sent["Invoices"][0];
    for (name, value) in [
        ("Type", "ACCREC"),
        ("Status", "AUTHORISED"),
        ("InvoiceNumber", "INV-000128"),
        ("Date", "2026-04-20"),
        ("DueDate", "2026-05-20"),
        ("CurrencyCode", "EUR"),
        ("LineAmountTypes", "Exclusive"),
        ("Reference", "CRM 128"),
    ] {
        assert_eq!(made[name], value, "{made:#}");
    }
    let contact = json!({"ContactNumber": "42", "Name": "Harbour Logistics Ltd",
        "EmailAddress": "eleni@harbour-logistics.example", "TaxNumber": "EL094019245"});
    assert_eq!(made["Contact"], contact);
    let lines = made["LineItems"].as_array().unwrap();
    assert_eq!(lines.len(), 2);
    for (line, [unit, amount, tax]) in lines.iter().zip([[180, 360, 72], [20, 40, 8]]) {
        assert_eq!([&line["Quantity"], &line["UnitAmount"]], [&json!(2), &json!(unit)]);
        assert_eq!([&line["LineAmount"], &line["TaxAmount"]], [&json!(amount), &json!(tax)]);
        assert_eq!([&line["AccountCode"], &line["TaxType"]], ["200", "OUTPUT2"]);
    }

    world.event(&invoice(&world, &uneven()).await).await;
    let arrivals = receiver.wait_for(path, 2).await;
    for arrival in &arrivals {
        assert_published(&arrival.json()["Invoices"][0], &xero_invoice(), "");
    }
    let made = arrivals[1].json()["Invoices"][0].clone();
    let lines = made["LineItems"].as_array().unwrap();
    let amounts = |name: &str| lines.iter().map(|line| number(&line[name])).collect::<Vec<f64>>();
    assert_eq!(amounts("LineAmount"), [92.87, 27.85, 9.29, -0.15], "{made:#}");
    assert_eq!(amounts("TaxAmount"), [18.57, 5.57, 0.0, 0.0]);
    let discount: Vec<f64> = lines[..3].iter().map(|l| number(&l["DiscountAmount"])).collect();
    assert_eq!(cents(discount.into_iter()), 1_000);
    let all = cents(amounts("LineAmount").into_iter()) + cents(amounts("TaxAmount").into_iter());
    assert_eq!(all, 15_400, "the lines and taxes come to the total");
    assert_eq!(lines[0]["Description"], "Licence\nOne year");
    assert_eq!([&lines[2]["TaxType"], &lines[3]["AccountCode"]], ["NONE", "860"]);

    let cancelled = world.event(&invoice(&world, &json!({"status": "5"})).await).await;
    let trace = format!("/api/v1/events/{cancelled}");
    let trace = world.eventually(&trace, |found| found["steps"][0].is_object()).await;
    assert_eq!(trace["steps"][0]["reason"], "the invoice is cancelled");
    assert_eq!(receiver.count(path), 2);
}

#[tokio::test]
async fn quickbooks_gets_the_lines_taxes_and_customer_of_an_invoice() {
    let config = json!({"endpoint": "books", "customers": {"42": "17"}, "item": "1",
        "adjustment_item": "2", "taxes": {"VAT 20%": {"code": "5", "rate": "9"}}});
    let set = billing(Sqlite, "invoice-to-quickbooks", "quickbooks", &config).await;
    let Some((world, receiver)) = set else { return };
    let event = invoice(&world, &uneven()).await;
    world.event(&event).await;
    let made = receiver.first("/invoice").await.json();
    assert_published(&made, &quickbooks_invoice(), "");
    assert_eq!([&made["DocNumber"], &made["TxnDate"]], ["INV-000128", "2026-04-20"], "{made:#}");
    assert_eq!([&made["CustomerRef"]["value"], &made["CurrencyRef"]["value"]], ["17", "EUR"]);
    let lines = made["Line"].as_array().unwrap();
    let kinds: Vec<&str> = lines.iter().map(|line| line["DetailType"].as_str().unwrap()).collect();
    let sales = "SalesItemLineDetail";
    assert_eq!(kinds, [sales, sales, sales, sales, "DiscountLineDetail"]);
    let amounts: Vec<f64> = lines.iter().map(|line| number(&line["Amount"])).collect();
    assert_eq!(amounts, [100.01, 29.99, 10.01, -0.15, 10.0]);
    let codes: Vec<&Value> = lines[..4].iter().map(|l| &l[sales]["TaxCodeRef"]["value"]).collect();
    assert_eq!(codes, ["5", "5", "NON", "NON"]);
    for line in &lines[..3] {
        let exact = number(&line[sales]["Qty"]) * number(&line[sales]["UnitPrice"]);
        assert!((exact - number(&line["Amount"])).abs() < 0.006, "{line:#}");
    }
    let detail = &made["TxnTaxDetail"];
    assert_eq!(
        [&detail["TotalTax"], &detail["TaxLine"][0]["Amount"]],
        [&json!(24.14), &json!(24.14)]
    );
    assert_eq!(detail["TaxLine"][0]["TaxLineDetail"]["NetAmountTaxable"], 120.72);
    let all = cents(amounts[..4].iter().copied()) - 1_000 + 2_414;
    assert_eq!(all, 15_400, "lines, less the discount, and the tax come to the total");

    world.event(&event).await;
    world.event(&invoice(&world, &json!({"id": "129", "clientid": "7"})).await).await;
    let dead = world.eventually("/api/v1/dead-letters", |found| found[0].is_object()).await;
    assert!(dead[0]["detail"].as_str().unwrap().contains("`customers` lacks `7`"), "{dead:#}");
    assert_eq!(receiver.count("/invoice"), 1, "an invoice is made once");
}

/// Runs the stored events of a flow through another version of a module.
async fn backtest(world: &World, flow: &str, version: &str) -> Value {
    let mut backtest = Command::new(binary());
    backtest.args(["flow", "backtest", flow, "--module", version, "--json"]);
    backtest.env("WAYBILL_URL", world.server().address()).env("WAYBILL_TOKEN", ADMIN_TOKEN);
    let output = tokio::task::spawn_blocking(move || backtest.output().unwrap()).await.unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// The answer is recorded with the event, so neither a replay nor a backtest asks the directory.
#[tokio::test]
async fn a_company_is_looked_up_once_and_a_backtest_asks_nobody() {
    let receiver = Receiver::start().await;
    let host = format!("127.0.0.1:{}", receiver.port());
    let Some(component) = guest("enrich-company") else { return };
    let capabilities =
        json!({"http": [host], "secrets": ["companies"], "counters": ["asked", "unknown"]});
    let version = |number: &str| {
        let manifest =
            json!({"name": "enrich-company", "version": number, "capabilities": capabilities});
        with_manifest(component.clone(), &manifest)
    };
    let set = |settings: &mut Settings| {
        settings.set("modules.plain_http", &format!("[\"{host}\"]"));
    };
    let Some(world) = World::start_with(Sqlite, set).await else { return };
    let path = "/api/v1/modules/enrich-company?activate=true&approve=http,secrets";
    let upload = Call::post(path, "application/wasm", version("1"));
    assert_eq!(world.client().send(upload).await.unwrap().status, StatusCode::CREATED);
    let secret = json!({"name": "companies", "secret": "marked-key", "hosts": [host],
        "header": "authorization", "prefix": "Bearer "});
    world.post("/api/v1/secrets", &secret).await;
    let known = json!({"name": "H", "category": {"industry": "freight"}}).to_string();
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let reply = Reply::Full { status: 200, headers, body: Bytes::from(known) };
    receiver.always("/companies/harbour-logistics.example", reply);
    world.endpoint(&endpoint_with("sink", &receiver.url("/sink"), &json!({"events": []}))).await;
    let config = json!({"url": receiver.url("/companies/{domain}"), "email": "email",
        "fields": {"industry": "/category/industry", "company": "/name"}, "ignore": []});
    let modules = json!([{"name": "enrich-company", "config": config}]);
    let flow = json!({"name": "leads", "events": ["lead.created"], "modules": modules,
        "endpoints": ["sink"]});
    world.post("/api/v1/flows", &flow).await;

    let email = json!({"email": "e@harbour-logistics.example"});
    let id = world.event(&catalogue_event(&world, "lead.created", &email).await).await;
    let payload = receiver.first("/sink").await.json()["payload"].clone();
    assert_eq!(payload["industry"], "freight", "{payload:#}");
    assert_eq!(payload["company"], "Harbour Logistics Ltd", "what the CRM knows stays");
    let asked = receiver.first("/companies/harbour-logistics.example").await;
    assert_eq!(asked.header("authorization"), "Bearer marked-key");

    let second = "/api/v1/modules/enrich-company?approve=http,secrets";
    let upload = Call::post(second, "application/wasm", version("2"));
    let made = world.client().send(upload).await.unwrap();
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let told = backtest(&world, "leads", "enrich-company=2").await;
    assert_eq!(told["same"], 1, "{told:#}");
    world.post(&format!("/api/v1/events/{id}/replay"), &json!({})).await;
    receiver.wait_for("/sink", 2).await;
    let count = receiver.count("/companies/harbour-logistics.example");
    assert_eq!(count, 1, "the directory was asked once");
    let trace = world.client().get(&format!("/api/v1/events/{id}")).await.unwrap().text();
    assert!(!trace.contains("marked-key"));
    assert_eq!(
        text(&world.get("/api/v1/modules/enrich-company").await[0], "name"),
        "enrich-company"
    );
}
