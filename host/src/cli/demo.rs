//! `waybill demo`: the whole product on a throw-away database.
//!
//! It runs a server, the example modules in two flows, a generator of made-up CRM events, and a
//! receiver that checks every signature. It shows how events become deliveries, a smart collapse, a
//! retry, and a dead letter that is replayed. Then it continues until Ctrl-C.

pub mod receiver;
pub mod setup;

use super::client::{CallBody, RemoteServer, ServerClient};
use super::{CliError, CommandScreen, DemoArgs};
use crate::catalog;
use crate::config::{Config, KeyOverride};
use crate::error_chain::error_chain;
use crate::server::Server;
use crate::time::clock::Clock;
use http::Method;
use receiver::DemoReceiver;
use serde_json::{Value, json};
use setup::DemoModules;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::oneshot;

/// The event types of the made-up CRM events, in turn.
const EVENTS: [&str; 6] = [
    "invoice.created",
    "lead.converted",
    "payment.received",
    "proposal.accepted",
    "lead.created",
    "ticket.created",
];
/// Longest duration of a step of the tour.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the demo. `program` is this program's own file, which compiles modules.
pub async fn run_demo(
    args: &DemoArgs,
    program: PathBuf,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let folder = tempfile::Builder::new().prefix("waybill-demo-").tempdir()?;
    let token = format!("demo-{}", hex::encode(rand::random::<[u8; 16]>()));
    let config = demo_config(args, folder.path(), &token)?;
    let server = Server::open(config, Clock::System, program, None).await;
    let server = server.map_err(|error| CliError::failed(error_chain(&error)))?;
    let url = format!("http://{}", server.address);
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(async { drop(stopped.await) }));
    let client = RemoteServer::to(&url, &token).connect(screen)?;
    let mut receiver = DemoReceiver::start().await?;
    screen.print_line(format!("server    {url}"))?;
    screen.print_line(format!("admin     {url}/admin   token {token}"))?;
    screen.print_line(format!("receiver  http://{} (checks every signature)", receiver.address))?;
    let tour = async {
        let modules = DemoModules::choose(args.modules.as_deref());
        setup::upload_modules(&client, modules, screen).await?;
        setup::arrange_demo(&client, &mut receiver, modules, screen).await?;
        tour(&client, &mut receiver, modules, screen).await?;
        show_what_is_next(&url, &token, screen)?;
        generate(&client, &mut receiver, args, screen).await
    };
    let result = tokio::select! {
        result = tour => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    drop(stop);
    if let Err(error) = serving.await {
        return Err(CliError::failed(error_chain(&error)));
    }
    screen.print_line(format!("{} deliveries, every signature fits", receiver.verified()))?;
    result
}

fn demo_config(args: &DemoArgs, folder: &std::path::Path, token: &str) -> Result<Config, CliError> {
    let settings = [
        ("server.listen", args.listen.clone()),
        ("database.url", format!("sqlite:{}", folder.join("demo.db").display())),
        ("delivery.allow_networks", r#"["127.0.0.0/8"]"#.to_owned()),
    ];
    let overrides: Vec<KeyOverride> = settings
        .into_iter()
        .map(|(key, value)| KeyOverride { key, flag: "waybill demo", value })
        .collect();
    let environment = [("WAYBILL_ADMIN_TOKEN".to_owned(), token.to_owned())];
    Config::load(None, environment, &overrides).map_err(|error| CliError::Usage(error.to_string()))
}

/// Captures one made-up event and returns its id.
async fn post_event(client: &ServerClient, event_type: &str, n: u64) -> Result<String, CliError> {
    let data = catalog::sample(event_type, n).unwrap_or_default();
    let event = json!({"type": event_type, "source": "crm", "data": data});
    let receipt = client.call_api(Method::POST, "/events", CallBody::Json(event)).await?;
    Ok(text(&receipt, "/id"))
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Prints the address to open, and commands for another shell.
fn show_what_is_next(
    url: &str,
    token: &str,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    screen.print_line(format!(
        "\nOpen it:           {url}/admin   token {token}\n\
         From a shell:      export WAYBILL_URL={url} WAYBILL_TOKEN={token}\n\
         Then:              waybill status;  waybill event send invoice.paid"
    ))?;
    Ok(())
}

/// Shows four scenes.
async fn tour(
    client: &ServerClient,
    receiver: &mut DemoReceiver,
    modules: DemoModules<'_>,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    screen.print_line(if modules.are_there() {
        "\n1. An invoice is created: a module makes a ledger entry from it."
    } else {
        "\n1. An invoice is created and delivered to the ledger."
    })?;
    let id = post_event(client, "invoice.created", 1).await?;
    let delivered = receiver.wait("/ledger", |seen| seen.attempt == 1, PATIENCE).await?;
    screen.print_line(format!("   {delivered}"))?;
    screen.print_line(format!("   the whole trace: waybill event show {id}"))?;

    screen
        .print_line("\n2. A task changes three times at once: smart mode sends the last state.")?;
    for n in 1..=3_u32 {
        let event = json!({"type": "task.updated", "source": "crm", "resource_id": "77", "data": {"id": "77", "change": n}});
        client.call_api(Method::POST, "/events", CallBody::Json(event)).await?;
    }
    let collapsed = receiver.wait("/board", |seen| seen.collapsed == Some(2), PATIENCE).await?;
    screen.print_line(format!("   {collapsed}, two earlier ones collapsed into it"))?;

    screen.print_line(
        "\n3. The chat answers 503 at first: the delivery is tried again, under the same id.",
    )?;
    post_event(client, "lead.converted", 2).await?;
    let failed = receiver.wait("/chat", |seen| seen.answered == 503, PATIENCE).await?;
    screen.print_line(format!("   {failed}"))?;
    let retried = receiver.wait("/chat", |seen| seen.attempt == 2, PATIENCE).await?;
    screen.print_line(format!("   {retried}"))?;

    screen.print_line(
        "\n4. The ERP is down until its schedule is over: a dead letter, then a replay.",
    )?;
    post_event(client, "payment.received", 3).await?;
    let letter = dead_letter(client).await?;
    screen.print_line(format!(
        "   dead letter {}: {}",
        text(&letter, "/id"),
        text(&letter, "/detail")
    ))?;
    receiver.repair();
    let path = format!("/dead-letters/{}/replay", text(&letter, "/id"));
    client.call_api(Method::POST, &path, CallBody::None).await?;
    let replayed = receiver.wait("/erp", |seen| seen.answered == 204, PATIENCE).await?;
    screen.print_line(format!("   {replayed}"))?;
    Ok(())
}

/// Waits for the dead letter.
async fn dead_letter(client: &ServerClient) -> Result<Value, CliError> {
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let asking = async {
        loop {
            tick.tick().await;
            let letters = client.call_api(Method::GET, "/dead-letters", CallBody::None).await?;
            if let Some(letter) = letters.get(0) {
                return Ok::<Value, CliError>(letter.clone());
            }
        }
    };
    let asked = tokio::time::timeout(PATIENCE, asking).await;
    asked.unwrap_or_else(|_elapsed| Err(CliError::failed("no delivery died in time".to_owned())))
}

/// Generates events and shows the deliveries that arrive.
async fn generate(
    client: &ServerClient,
    receiver: &mut DemoReceiver,
    args: &DemoArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let most = args.events.unwrap_or(u64::MAX);
    if most > 0 {
        screen
            .print_line("\nThe CRM continues; Ctrl-C ends the demo and leaves nothing behind.")?;
    }
    let period = Duration::try_from_secs_f64(1.0 / args.rate).map_err(|_out_of_range| {
        CliError::Usage("--rate: give events a second, above 0".to_owned())
    })?;
    let mut tick = tokio::time::interval(period);
    let mut made = 0;
    while made < most {
        tokio::select! {
            _ = tick.tick() => {
                let names = usize::try_from(made).unwrap_or_default();
                let name = EVENTS.get(names % EVENTS.len()).copied().unwrap_or("invoice.created");
                post_event(client, name, 100 + made).await?;
                made += 1;
            }
            seen = receiver.next() => screen.print_line(format!("   {}", seen?))?,
        }
    }
    Ok(())
}
