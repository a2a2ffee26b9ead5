//! Creates the demo's modules, endpoints and flows.

use super::super::client::{CallBody, ServerClient};
use super::super::{CliError, CommandScreen};
use super::receiver::DemoReceiver;
use super::text;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use std::path::Path;

/// The example modules: name, file.
const MODULES: [(&str, &str); 4] = [
    ("invoice-to-ledger", "invoice_to_ledger.wasm"),
    ("lead-to-slack", "lead_to_slack.wasm"),
    ("payment-to-budget", "payment_to_budget.wasm"),
    ("proposal-to-task", "proposal_to_task.wasm"),
];

/// The example modules that were compiled with the program: file, component.
static EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/examples.rs"));

/// The origin of the demo's modules.
#[derive(Debug, Clone, Copy)]
pub enum DemoModules<'a> {
    /// The program itself.
    Embedded,
    /// A folder that was named.
    Folder(&'a Path),
    /// The program was built without modules, so the flows have none.
    None,
}

impl<'a> DemoModules<'a> {
    /// Chooses the modules of the folder, or else those of the program.
    pub fn choose(folder: Option<&'a Path>) -> Self {
        match folder {
            Some(folder) => Self::Folder(folder),
            None if EMBEDDED.is_empty() => Self::None,
            None => Self::Embedded,
        }
    }

    /// Returns whether flows have modules.
    pub const fn are_there(self) -> bool {
        !matches!(self, Self::None)
    }

    async fn read(self, file: &str) -> Result<Bytes, CliError> {
        let Self::Folder(folder) = self else {
            let found = EMBEDDED.iter().find(|(name, _)| *name == file);
            return Ok(Bytes::from_static(found.map_or(&[], |(_, wasm)| wasm)));
        };
        let path = folder.join(file);
        tokio::fs::read(&path).await.map(Bytes::from).map_err(|error| {
            let what = format!("cannot read the example module {}: {error}", path.display());
            CliError::with_next(what, "name the folder of the built examples with --modules DIR")
        })
    }
}

/// Uploads the example modules, if there are any.
pub async fn upload_modules(
    client: &ServerClient,
    modules: DemoModules<'_>,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    if !modules.are_there() {
        return Ok(screen.print_line(
            "modules   none: this program was built without the example modules, so flows pass \
             events on as they are (`cargo xtask demo` builds both)",
        )?);
    }
    for (name, file) in MODULES {
        let wasm = modules.read(file).await?;
        let path = format!("/modules/{name}?activate=true");
        let module = client.call_api(Method::POST, &path, CallBody::Wasm(wasm)).await?;
        let exports = module.pointer("/report/exports").map(Value::to_string).unwrap_or_default();
        screen.print_line(format!("module    {name} {exports}"))?;
    }
    Ok(())
}

/// Creates the endpoints and flows.
pub async fn arrange_demo(
    client: &ServerClient,
    receiver: &mut DemoReceiver,
    modules: DemoModules<'_>,
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
        let (passed, shown) = if modules.are_there() {
            (json!([{"name": module, "config": config}]), format!(" through {module}"))
        } else {
            (json!([]), String::new())
        };
        let flow = json!({
            "name": name, "events": events, "modules": passed, "endpoints": [endpoint]
        });
        client.call_api(Method::POST, "/flows", CallBody::Json(flow)).await?;
        screen.print_line(format!("flow      {name}: {events}{shown} to {endpoint}"))?;
    }
    Ok(())
}
