//! The files of `examples/automations`, applied as they are written: what each receiver gets of what
//! the CRM sends. The README shows the same bodies.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};
use waybill_tests::Backend::Sqlite;
use waybill_tests::rest::Call;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::{binary, expect, fresh_database, guest, text};
use waybill_tests::{Receiver, Reply, World};

use crate::support::hex_mac;

/// What the CRM signs its webhooks with.
const SECRET: &str = "the-secret-in-the-crm";

/// What the CRM sends, with the slashes and letters that PHP escapes.
const INVOICE: &str = r#"{"id":"128","clientid":"42","number":"128","formatted_number":"INV-000128","date":"2026-04-20","duedate":"2026-05-20","subtotal":"400.00","total_tax":"80.00","total":"480.00","status":"1","currency_name":"EUR","items":[{"description":"Barcode scanner","id":"901","qty":"2.00","rate":"200.00"}]}"#;
const LEAD: &str = r#"{"id":"311","name":"Eleni Markou","company":"Harbour & Sons","email":"eleni@harbour.example","phonenumber":"+30 694 555 0177","website":"https:\/\/harbour.example","lead_value":"7500.00"}"#;
const PAYMENT: &str = r#"{"id":"503","invoiceid":"128","amount":"480.00","paymentmode":"1","date":"2026-05-03","note":"","transactionid":"BANK-7781","invoice":{"id":"128","clientid":"42","project_id":"9","currency_name":"EUR"}}"#;
const REFUND: &str = r#"{"id":"504","invoiceid":"129","amount":"-80.00","date":"2026-05-04","transactionid":"","invoice":{"id":"129","project_id":"0","currency_name":"EUR"}}"#;
const PROPOSAL: &str = r#"{"id":"35","subject":"Warehouse scanner rollout","proposal_to":"Zo\u00eb Markou","total":"2400.00","currency_name":"EUR","assigned":"3","status":"3","acceptance_date":"2026-04-29 09:14:26"}"#;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn waybill(world: &World, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(binary())
        .args(arguments)
        .env("WAYBILL_URL", world.server().address())
        .env("WAYBILL_TOKEN", ADMIN_TOKEN)
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

/// A server that takes the webhooks of a CRM, as the README sets it up.
async fn connected() -> Option<World> {
    let world = World::start(Sqlite).await?;
    let source = ["source", "create", "crm", "--webhook", "perfexapi", "--secret", SECRET];
    let made = waybill(&world, &source, &[]);
    assert!(made.status.success(), "{}", said(&made));
    Some(world)
}

/// Puts a file of the examples into a checkout, with the component of a module that was built there.
fn check_out(world: &World, file: &str, module: Option<(&str, Vec<u8>)>) -> String {
    let folder = world.folder().join("checkout/examples/automations");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(repository().join("examples/automations").join(file), folder.join(file)).unwrap();
    if let Some((name, component)) = module {
        let built = world.folder().join("checkout/target/wasm32-wasip2/release");
        std::fs::create_dir_all(&built).unwrap();
        std::fs::write(built.join(format!("{name}.wasm")), component).unwrap();
    }
    folder.join(file).display().to_string()
}

/// Applies a file with these variables, twice: the second time changes nothing.
fn apply(world: &World, path: &str, variables: &[(&str, &str)]) {
    let applied = waybill(world, &["apply", path], variables);
    assert!(applied.status.success(), "{}", said(&applied));
    let again = waybill(world, &["apply", path], variables);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    let changes = again["changes"].as_array().unwrap();
    assert!(changes.iter().all(|change| change["action"] == "unchanged"), "{again:#}");
    assert_eq!(again["uploaded"], json!([]));
}

/// Sends a webhook as the CRM does: the id of its event.
async fn crm_sends(world: &World, event: &str, payload: &str) -> String {
    let body = format!(r#"{{"event":"{event}","payload":{payload}}}"#);
    let signature = hex_mac(SECRET, body.as_bytes());
    let call = Call::post("/in/crm", "application/json", body);
    let call = call.header("x-perfexapi-signature", &signature);
    let answer = world.client_with(None).send(call).await.unwrap();
    text(&expect(&answer, StatusCode::ACCEPTED, "/in/crm").data(), "id")
}

fn created(body: &str) -> Reply {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Reply::Full { status: 201, headers, body: Bytes::from(body.to_owned()) }
}

/// Waits for the event that an answer became: the id of its record.
async fn answered(world: &World, event_type: &str) -> String {
    let path = format!("/api/v1/events?type={event_type}");
    let found = world.eventually(&path, |found| found[0].is_object()).await;
    text(&found[0], "resource_id")
}

/// Checks that the README shows these lines as what a receiver gets.
fn assert_shown(lines: &[&str]) {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let wanted = format!("    {}\n", lines.join("\n    "));
    assert!(readme.contains(&wanted), "README.md lacks:\n{wanted}");
}

#[tokio::test]
async fn an_issued_invoice_is_stored_in_the_accounting_system_and_again_when_paid() {
    let Some(world) = connected().await else { return };
    let receiver = Receiver::start().await;
    let path = "/api/invoices/crm-128";
    receiver.always(path, created(r#"{"id":"A-7"}"#));
    let file = check_out(&world, "invoice-to-accounting.yaml", None);
    let url = receiver.url("/api");
    apply(&world, &file, &[("ACCOUNTING_URL", &url), ("ACCOUNTING_TOKEN", "t0ken")]);
    let draft = INVOICE.replace(r#""status":"1""#, r#""status":"6""#);
    let draft = crm_sends(&world, "invoice.created", &draft).await;
    crm_sends(&world, "invoice.sent", INVOICE).await;
    let arrival = receiver.first(path).await;
    assert_eq!((arrival.method.as_str(), arrival.header("authorization")), ("PUT", "Bearer t0ken"));
    let body = r#"{"number":"INV-000128","date":"2026-04-20","due_date":"2026-05-20","customer":"42","currency":"EUR","net":"400.00","tax":"80.00","total":"480.00","paid":false,"lines":[{"description":"Barcode scanner","id":"901","qty":"2.00","rate":"200.00"}]}"#;
    assert_eq!(String::from_utf8_lossy(&arrival.body), body);
    assert_shown(&[&format!("PUT {path}"), body]);
    assert_eq!(answered(&world, "accounting.invoice.stored").await, "A-7");
    crm_sends(&world, "invoice.paid", &INVOICE.replace(r#""status":"1""#, r#""status":"2""#)).await;
    let arrivals = receiver.wait_for(path, 2).await;
    let paid = body.replace(r#""paid":false"#, r#""paid":true"#);
    assert_eq!(String::from_utf8_lossy(&arrivals[1].body), paid);
    let trace = world.get(&format!("/api/v1/events/{draft}")).await;
    assert!(trace.to_string().contains("where was false"), "a draft is kept back: {trace:#}");
}

#[tokio::test]
async fn a_new_lead_is_told_to_slack() {
    let Some(world) = connected().await else { return };
    let receiver = Receiver::start().await;
    let path = "/services/T1/B1/x";
    let file = check_out(&world, "lead-to-slack.yaml", None);
    apply(&world, &file, &[("SLACK_WEBHOOK_URL", &receiver.url(path))]);
    let event = crm_sends(&world, "lead.created", LEAD).await;
    let arrival = receiver.first(path).await;
    let time = text(&world.get(&format!("/api/v1/events/{event}")).await, "received_at");
    let body = String::from_utf8_lossy(&arrival.body).replace(&time, "2026-04-02T15:04:11.000Z");
    let wanted = r#"{"text":"New lead: Eleni Markou","mrkdwn":false,"link_names":false,"blocks":[{"type":"header","text":{"type":"plain_text","emoji":false,"text":"New lead: Eleni Markou"}},{"type":"section","text":{"type":"plain_text","emoji":false,"text":"Company: Harbour &amp; Sons\nE-mail: eleni@harbour.example\nPhone: +30 694 555 0177\nValue: 7500.00"}},{"type":"context","elements":[{"type":"plain_text","emoji":false,"text":"crm · 2026-04-02T15:04:11.000Z"}]}]}"#;
    assert_eq!(body, wanted);
    assert_shown(&[&format!("POST {path}"), wanted]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_changes_a_budget_of_the_erp_once() {
    let Some(component) = guest("payment-to-budget") else { return };
    let Some(erp) = fresh_database().await else { return };
    let Some(world) = connected().await else { return };
    let file =
        check_out(&world, "payment-to-erp-budget.yaml", Some(("payment_to_budget", component)));
    erp.execute(&table_of(&file)).await.unwrap();
    let url = erp.url().replacen("postgres@", "", 1);
    let variables = [
        ("ERP_DATABASE", url.as_str()),
        ("ERP_USER", "postgres"),
        ("ERP_PASSWORD", "any"),
        ("ERP_TLS", "off"),
    ];
    apply(&world, &file, &variables);
    let payment = crm_sends(&world, "payment.received", PAYMENT).await;
    crm_sends(&world, "payment.received", REFUND).await;
    world.post(&format!("/api/v1/events/{payment}/replay"), &json!({})).await;
    let delivered = "/api/v1/deliveries?endpoint=erp-budget&status=delivered";
    let is_done = |found: &Value| found.as_array().is_some_and(|all| all.len() == 3);
    world.eventually(delivered, is_done).await;
    let rows = "SELECT concat_ws(' | ', reference, budget, period, direction, amount, currency, invoice, project) \
                FROM budget_changes ORDER BY reference";
    let rows = erp.texts(rows).await.unwrap();
    let payment = "payment-503 | ROLLOUT | 2026-05 | increase | 480.00 | EUR | 128 | 9";
    assert_eq!(rows, [payment, "payment-504 | SALES | 2026-05 | decrease | 80.00 | EUR | 129"]);
    assert_shown(&["INTO budget_changes", payment]);
}

/// The statement that makes the table, as the comment of the file has it.
fn table_of(file: &str) -> String {
    let written = std::fs::read_to_string(file).unwrap();
    let lines = written.lines().map(|line| line.trim_start_matches('#'));
    let mut lines = lines.skip_while(|line| !line.contains("CREATE TABLE"));
    let mut statement = String::new();
    while !statement.contains(';') {
        statement.push_str(lines.next().unwrap());
    }
    statement
}

#[tokio::test]
async fn an_accepted_proposal_becomes_a_task_of_the_crm() {
    let Some(component) = guest("proposal-to-task") else { return };
    let Some(world) = connected().await else { return };
    let crm = Receiver::start().await;
    let path = "/api/v1/tasks";
    crm.always(path, created(r#"{"data":{"id":61}}"#));
    let file = check_out(&world, "proposal-to-task.yaml", Some(("proposal_to_task", component)));
    apply(&world, &file, &[("CRM_URL", &crm.url("")), ("CRM_API_KEY", "pk_0123456789")]);
    crm_sends(&world, "proposal.accepted", PROPOSAL).await;
    let arrival = crm.first(path).await;
    assert_eq!((arrival.method.as_str(), arrival.header("x-api-key")), ("POST", "pk_0123456789"));
    let body = r#"{"name":"Start: Warehouse scanner rollout","description":"Zoë Markou accepted proposal 35 over 2400.00 EUR","priority":2,"startdate":"2026-04-29","duedate":"2026-05-02","rel_type":"proposal","rel_id":"35","assignees":["3"]}"#;
    assert_eq!(String::from_utf8_lossy(&arrival.body), body);
    assert_shown(&[&format!("POST {path}"), body]);
    assert_eq!(answered(&world, "crm.task.created").await, "61");
}

#[tokio::test]
async fn a_file_is_refused_whole_while_a_variable_is_missing_or_empty() {
    let Some(world) = World::start(Sqlite).await else { return };
    let file = check_out(&world, "invoice-to-accounting.yaml", None);
    let refused = waybill(&world, &["apply", &file], &[("ACCOUNTING_TOKEN", "")]);
    assert_eq!(refused.status.code(), Some(1));
    for fault in [
        "endpoints[0].auth.token: the environment variable ACCOUNTING_TOKEN is empty",
        "endpoints[0].url: the environment variable ACCOUNTING_URL is not set",
    ] {
        assert!(said(&refused).contains(fault), "{}", said(&refused));
    }
    assert_eq!(world.get("/api/v1/endpoints").await, json!([]));
}

#[tokio::test]
async fn an_export_is_applied_as_it_was_though_a_text_looks_like_a_variable() {
    let Some(world) = World::start(Sqlite).await else { return };
    let body = json!({"price": "${HOME}", "note": "$${HOME} and ${data.total}"});
    let endpoint = json!({"name": "shop", "url": "https://shop.example/in", "body": body});
    world.endpoint(&endpoint).await;
    let exported = waybill(&world, &["export"], &[]);
    let file = world.folder().join("all.yaml");
    std::fs::write(&file, &exported.stdout).unwrap();
    apply(&world, &file.display().to_string(), &[]);
    assert_eq!(world.get("/api/v1/endpoints/shop").await["body"], body);
}
