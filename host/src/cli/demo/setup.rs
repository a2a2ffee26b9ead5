//! What the demo sets: modules, endpoints and flows.

use super::super::client::{CallBody, ServerClient};
use super::super::{CliError, CommandScreen};
use super::receiver::DemoReceiver;
use super::text;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The example modules: name, file.
const MODULES: [(&str, &str); 4] = [
    ("invoice-to-ledger", "invoice_to_ledger.wasm"),
    ("lead-to-slack", "lead_to_slack.wasm"),
    ("payment-to-budget", "payment_to_budget.wasm"),
    ("proposal-to-task", "proposal_to_task.wasm"),
];

/// Uploads the example modules.
pub async fn upload_modules(
    client: &ServerClient,
    folder: Option<&Path>,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let folder = folder.map_or_else(|| PathBuf::from("target/wasm32-wasip2/guest"), Path::to_owned);
    for (name, file) in MODULES {
        let path = folder.join(file);
        let wasm = tokio::fs::read(&path).await.map_err(|error| {
            let what = format!("cannot read the example module {}: {error}", path.display());
            CliError::with_next(
                what,
                "run `cargo xtask demo`, or give the built examples with --modules DIR",
            )
        })?;
        let path = format!("/modules/{name}?activate=true");
        let module =
            client.call_api(Method::POST, &path, CallBody::Wasm(Bytes::from(wasm))).await?;
        let exports = module.pointer("/report/exports").map(Value::to_string).unwrap_or_default();
        screen.print_line(format!("module    {name} {exports}"))?;
    }
    Ok(())
}

/// Makes the endpoints and flows.
pub async fn arrange_demo(
    client: &ServerClient,
    receiver: &mut DemoReceiver,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let short = json!({"schedule": ["1s", "1s"]});
    let endpoints = [
        ("ledger", "/ledger", json!({})),
        ("chat", "/chat", json!({"retry": short})),
        ("erp", "/erp", json!({"retry": short})),
        ("tasks", "/tasks", json!({})),
        (
            "board",
            "/board",
            json!({"events": ["task.*"], "mode": "smart", "smart": {"window": "1s"}}),
        ),
        ("archive", "/archive", json!({"events": ["lead.created", "ticket.*"], "ordered": true})),
    ];
    for (name, path, settings) in endpoints {
        let mut endpoint =
            json!({"name": name, "url": format!("http://{}{path}", receiver.address)});
        if let (Some(endpoint), Value::Object(settings)) = (endpoint.as_object_mut(), settings) {
            endpoint.extend(settings);
        }
        let made = client.call_api(Method::POST, "/endpoints", CallBody::Json(endpoint)).await?;
        receiver.expect(path, text(&made, "/secret"));
        screen.print_line(format!("endpoint  {name} -> {path}"))?;
    }
    let flows = [
        ("accounting", json!(["invoice.created"]), "invoice-to-ledger", "ledger", json!({})),
        ("sales", json!(["lead.converted"]), "lead-to-slack", "chat", json!({})),
        (
            "budget",
            json!(["payment.received"]),
            "payment-to-budget",
            "erp",
            json!({"budget": "sales"}),
        ),
        ("work", json!(["proposal.accepted"]), "proposal-to-task", "tasks", json!({})),
    ];
    for (name, events, module, endpoint, config) in flows {
        let flow = json!({"name": name, "events": events, "modules": [{"name": module, "config": config}], "endpoints": [endpoint]});
        client.call_api(Method::POST, "/flows", CallBody::Json(flow)).await?;
        screen.print_line(format!("flow      {name}: {events} through {module} to {endpoint}"))?;
    }
    Ok(())
}
