//! Tests of the REST commands against a server on loopback that delivers to `waybill listen`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use clap::Parser as _;
use secrecy::SecretString;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::cli::{CliCommand, CliError, CommandLine, CommandScreen, listen, run_command};
use crate::config::Config;
use crate::server::Server;
use crate::time::clock::Clock;

const TOKEN: &str = "a-token-of-the-tests";
const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// A server in its own folder.
struct World {
    address: SocketAddr,
    folder: tempfile::TempDir,
    _stop: oneshot::Sender<()>,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        config.server.data_dir = Some(folder.path().to_owned());
        let database = folder.path().join("waybill.db");
        config.database.url =
            crate::config::DatabaseUrl::new(format!("sqlite:{}", database.display()));
        config.delivery.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
        config.admin_token = Some(SecretString::from(TOKEN));
        let program = std::env::current_exe().unwrap();
        let server = Server::open(config, Clock::System, program, None).await.unwrap();
        let address = server.address;
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(server.run(async {
            drop(stopped.await);
        }));
        Self { address, folder, _stop: stop }
    }

    async fn typed_as(&self, token: &str, human: bool, line: &[&str]) -> Result<String, CliError> {
        let server = format!("http://{}", self.address);
        let line = [&["waybill"], line, &["--server", &server, "--token", token]].concat();
        let cli = CommandLine::try_parse_from(line).unwrap();
        let mut out = Vec::new();
        run_command(cli.command, &mut CommandScreen::new(&mut out, human)).await?;
        Ok(String::from_utf8(out).unwrap())
    }

    /// Returns a command's output for people.
    async fn typed(&self, line: &[&str]) -> String {
        self.typed_as(TOKEN, true, line).await.unwrap()
    }

    /// Returns a command's output for programs.
    async fn piped(&self, line: &[&str]) -> Value {
        serde_json::from_str(&self.typed_as(TOKEN, false, line).await.unwrap()).unwrap()
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Path::to_str(&path).unwrap().to_owned()
    }
}

/// Sends on each piece that is written.
struct Pieces(mpsc::UnboundedSender<String>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.0.send(text).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts `waybill listen` on a free port. Returns its address and output.
async fn listening(options: &[&str]) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let line = [&["waybill", "listen"], options].concat();
    let CliCommand::Listen(args) = CommandLine::try_parse_from(line).unwrap().command else {
        panic!("not listen")
    };
    let (send, receive) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut out = Pieces(send);
        let mut screen = CommandScreen::new(&mut out, true);
        let never = std::future::pending();
        listen::serve_requests(listener, args, Clock::System, never, &mut screen).await
    });
    (address, receive)
}

/// Returns everything written up to the first `mark`.
async fn until(written: &mut mpsc::UnboundedReceiver<String>, mark: &str) -> String {
    let mut text = String::new();
    while !text.contains(mark) {
        text.push_str(&written.recv().await.unwrap());
    }
    text
}

#[tokio::test]
async fn an_event_is_sent_delivered_and_traced() {
    let world = World::start().await;
    let (address, mut written) = listening(&["--secret", SECRET]).await;
    let url = format!("http://{address}/hook");
    let made = world
        .typed(&[
            "endpoint",
            "create",
            "erp",
            "--url",
            &url,
            "--events",
            "invoice.*",
            "--secret",
            SECRET,
        ])
        .await;
    assert!(made.starts_with("endpoint erp made: end_"), "{made}");
    let list = world.typed(&["endpoint", "list"]).await;
    assert!(list.starts_with("name") && list.contains("invoice.*"), "{list}");
    assert!(!world.typed(&["endpoint", "show", "erp"]).await.contains(SECRET));

    let sent = world.typed(&["event", "send", "invoice.paid", "--id", "e1"]).await;
    assert!(sent.starts_with("evt_") && sent.ends_with(" accepted\n"), "{sent}");
    let printed = until(&mut written, "INV-000128").await;
    for expected in ["invoice.paid", "attempt 1", "standard fits", "perfexapi fits", "webhook fits"]
    {
        assert!(printed.contains(expected), "no {expected} in {printed}");
    }
    let again = world.typed(&["event", "send", "invoice.paid", "--id", "e1"]).await;
    assert!(again.contains("was there already"), "{again}");

    let events = world.piped(&["event", "list", "--type", "invoice.paid"]).await;
    let id = events[0]["id"].as_str().unwrap();
    let trace = world.typed(&["event", "show", id]).await;
    assert!(trace.contains("invoice.paid") && trace.contains("deliver"), "{trace}");
    let deliveries = world.piped(&["delivery", "list", "--endpoint", "erp"]).await;
    assert_eq!(deliveries.as_array().unwrap().len(), 1);
    let delivery = deliveries[0]["id"].as_str().unwrap();
    assert!(world.typed(&["delivery", "show", delivery]).await.contains("attempts"));
    assert!(world.typed(&["delivery", "list"]).await.contains("erp"));
    assert_eq!(world.typed(&["dead-letter", "list"]).await, "no dead letters\n");
    let dry = world.typed(&["dead-letter", "replay", "--all", "--dry-run"]).await;
    assert!(dry.starts_with("0 match"), "{dry}");
}

#[tokio::test]
async fn listen_fails_as_often_as_told() {
    let (address, mut written) = listening(&["--fail", "503", "--times", "1"]).await;
    for expected in ["answered 503", "answered 204"] {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let body = http_body_util::Full::new(bytes::Bytes::from_static(b"plain text"));
        let request = http::Request::post("/").header("host", "x").body(body).unwrap();
        sender.send_request(request).await.unwrap();
        let printed = until(&mut written, "plain text").await;
        assert!(printed.contains(expected), "{printed}");
    }
}

#[tokio::test]
async fn a_test_of_an_endpoint_fails_with_its_attempt() {
    let world = World::start().await;
    let (address, _written) = listening(&["--fail", "503", "--times", "1"]).await;
    let url = format!("http://{address}/hook");
    world.typed(&["endpoint", "create", "erp", "--url", &url]).await;
    let failed = world.typed_as(TOKEN, true, &["endpoint", "test", "erp"]).await.unwrap_err();
    assert_eq!(failed.exit_code(), 1);
    assert!(failed.to_string().contains("the attempt failed"), "{failed}");
    let attempt = world.typed(&["endpoint", "test", "erp"]).await;
    assert!(attempt.contains("status: 204"), "{attempt}");
}

#[tokio::test]
async fn things_are_made_changed_and_deleted_by_name() {
    let world = World::start().await;
    let url = "https://erp.example/hook";
    world.typed(&["endpoint", "create", "erp", "--url", url, "--mode", "smart"]).await;
    world.typed(&["source", "create", "crm", "--strict"]).await;
    world.typed(&["flow", "create", "books", "--events", "invoice.*", "--endpoints", "erp"]).await;
    for (word, expected) in [("endpoint", "smart"), ("source", "crm"), ("flow", "books")] {
        let list = world.typed(&[word, "list"]).await;
        assert!(list.contains(expected), "{list}");
    }
    world.typed(&["endpoint", "update", "erp", "--set", "timeout=5s"]).await;
    let shown = world.piped(&["endpoint", "show", "erp"]).await;
    assert_eq!((shown["timeout"].as_str(), shown["url"].as_str()), (Some("5s"), Some(url)));
    let rotated = world.typed(&["endpoint", "rotate-secret", "erp", "--grace", "1h"]).await;
    assert!(rotated.starts_with("new secret: whsec_"), "{rotated}");
    world.typed(&["flow", "delete", "books"]).await;
    assert!(world.typed(&["flow", "list"]).await.starts_with("no flow yet"));
}

#[tokio::test]
async fn an_operation_is_printed_without_its_secrets() {
    let world = World::start().await;
    let auth = r#"auth={"kind":"api_key","in":"header","name":"X-API-KEY","value":"pk_secret"}"#;
    let preset = "settings.preset=perfexapi";
    let create = ["endpoint", "create", "crm", "--kind", "api", "--url", "https://crm.example"];
    world.typed(&[&create[..], &["--set", auth, "--set", preset]].concat()).await;
    let listed = world.typed(&["endpoint", "operations", "crm"]).await;
    assert!(listed.contains("lead_create") && listed.contains("/api/v1/leads"), "{listed}");
    let data = world.file("lead.json", r#"{"name":"Zoë"}"#);
    let call = ["call", "crm", "lead_update", "--data", &data, "--id", "17", "--dry-run"];
    let shown = world.piped(&call).await;
    assert_eq!(shown["method"], "PUT");
    assert_eq!(shown["url"], "https://crm.example/api/v1/leads/17");
    assert_eq!(shown["body"], serde_json::json!({"name": "Zoë"}));
    assert_eq!(shown["headers"]["x-api-key"], "***");
    let unknown = world.typed_as(TOKEN, true, &["call", "crm", "lead_creat"]).await.unwrap_err();
    assert!(unknown.to_string().contains("did you mean `lead_create`?"), "{unknown}");
}

#[tokio::test]
async fn errors_are_the_servers_words_with_a_next_step() {
    let world = World::start().await;
    let refused = world.typed_as("wrong", true, &["endpoint", "list"]).await.unwrap_err();
    assert!(refused.to_string().contains("WAYBILL_TOKEN"), "{refused}");
    let bad = ["endpoint", "create", "erp", "--url", "ftp://x"];
    let bad = world.typed_as(TOKEN, true, &bad).await.unwrap_err().to_string();
    assert!(bad.contains("url: ") && bad.contains("next: correct the input"), "{bad}");
    world.typed(&["endpoint", "create", "erp", "--url", "https://erp.example/"]).await;
    let missing = world.typed_as(TOKEN, true, &["endpoint", "show", "epr"]).await.unwrap_err();
    assert!(missing.to_string().contains("was `erp` meant?"), "{missing}");
    let unknown = world.typed_as(TOKEN, true, &["event", "send", "a.b"]).await.unwrap_err();
    assert_eq!(unknown.exit_code(), 2);
}

const DOCUMENT: &str = "\
sources:
  - name: crm
endpoints:
  - name: erp
    url: https://erp.example/hook
flows:
  - name: books
    events: [invoice.*]
    endpoints: [erp]
";

#[tokio::test]
async fn apply_says_what_it_changed_and_does_it_once() {
    let world = World::start().await;
    let file = world.file("waybill.yaml", DOCUMENT);
    let dry = world.typed(&["apply", &file, "--dry-run"]).await;
    assert!(dry.contains("3 would change") && dry.contains("nothing was done"), "{dry}");
    assert!(world.typed(&["endpoint", "list"]).await.starts_with("no endpoint yet"));
    let first = world.typed(&["apply", &file]).await;
    assert!(first.contains("secret of erp, shown only now: whsec_"), "{first}");
    assert!(first.contains("create  flow") && first.contains("3 changed"), "{first}");
    let second = world.typed(&["apply", &file]).await;
    assert_eq!(second, "nothing to change: 3 as they should be\n");

    let exported = world.typed(&["export", "--format", "toml"]).await;
    let exported = world.file("exported.toml", &exported);
    let third = world.typed(&["apply", &exported]).await;
    assert!(third.starts_with("nothing to change"), "{third}");

    let changed = DOCUMENT.replace("[invoice.*]", "[invoice.*, lead.*]");
    let file = world.file("waybill.yaml", &changed);
    let fourth = world.typed(&["apply", &file]).await;
    assert!(fourth.contains("update  flow  books  events"), "{fourth}");
    let wrong = world.file("wrong.yaml", "endpoints:\n  - name: erp\n    ulr: x\n");
    let said = world.typed_as(TOKEN, true, &["apply", &wrong]).await.unwrap_err().to_string();
    assert!(said.contains("endpoints[0]"), "{said}");
}

#[tokio::test]
async fn a_flow_is_run_dry_and_the_receiver_hears_nothing() {
    let world = World::start().await;
    let (address, mut written) = listening(&[]).await;
    let url = format!("http://{address}/hook");
    world.typed(&["endpoint", "create", "erp", "--url", &url, "--set", "events=[]"]).await;
    world.typed(&["flow", "create", "books", "--events", "invoice.*", "--endpoints", "erp"]).await;
    let event = r#"{"type": "invoice.paid", "data": {"id": "1", "total": 9.50}}"#;
    let file = world.file("event.json", event);
    let said = world.typed(&["flow", "run", "books", "--data", &file]).await;
    assert!(said.contains("flow books on invoice.paid evt_"), "{said}");
    assert!(said.contains("would send invoice.paid evt_") && said.contains("9.5"), "{said}");
    let answer = world.piped(&["flow", "run", "books", "--data", &file]).await;
    assert_eq!([&answer["end"], &answer["dispatches"][0]["endpoint"]], ["planned", "erp"]);

    let other = world.file("other.json", r#"{"type": "lead.created", "data": {"id": "1"}}"#);
    let said = world.typed(&["flow", "run", "books", "--data", &other]).await;
    assert!(said.contains("flow `books` takes no events of type `lead.created`"), "{said}");
    world.typed(&["endpoint", "update", "erp", "--set", "enabled=false"]).await;
    let said = world.typed(&["flow", "run", "books", "--data", &file]).await;
    assert!(said.contains("endpoint `erp` is disabled"), "{said}");
    assert_eq!(world.typed(&["event", "list"]).await, "no such events\n");
    let mut heard = String::new();
    while let Ok(text) = written.try_recv() {
        heard.push_str(&text);
    }
    assert!(!heard.contains("invoice"), "the receiver got a request: {heard}");
}

#[tokio::test]
async fn a_backtest_asks_for_a_version_of_one_of_the_flow_s_modules() {
    let world = World::start().await;
    world.typed(&["endpoint", "create", "erp", "--url", "https://erp.example/hook"]).await;
    world.typed(&["flow", "create", "books", "--events", "invoice.*", "--endpoints", "erp"]).await;
    let refused = world.typed_as(TOKEN, true, &["flow", "backtest", "books"]).await.unwrap_err();
    assert_eq!(refused.exit_code(), 2);
    let backtest = ["flow", "backtest", "books", "--last", "10", "--module", "ledger=2"];
    let none = world.typed(&backtest).await;
    assert!(none.starts_with("0 events: 0 same"), "{none}");
    world.typed(&["event", "send", "invoice.paid"]).await;
    let refused = world.typed_as(TOKEN, true, &backtest).await.unwrap_err().to_string();
    assert!(refused.contains("flow `books` has no modules"), "{refused}");
}

impl World {
    /// Returns the result of a command whose question a person answers with `answer`.
    async fn asked(&self, answer: &str, line: &[&str]) -> Result<String, CliError> {
        let server = format!("http://{}", self.address);
        let line = [&["waybill"], line, &["--server", &server, "--token", TOKEN]].concat();
        let cli = CommandLine::try_parse_from(line).unwrap();
        let (mut out, mut answers) = (Vec::new(), answer.as_bytes());
        let mut screen = CommandScreen::new(&mut out, true);
        screen.set_answers(&mut answers);
        run_command(cli.command, &mut screen).await?;
        Ok(String::from_utf8(out).unwrap())
    }
}

/// Returns the last eight characters of an id, which distinguish it from others of its time.
fn ending(id: &str) -> &str {
    id.get(id.len() - 8..).unwrap()
}

#[tokio::test]
async fn a_table_shows_short_ids_that_every_command_takes() {
    let world = World::start().await;
    world.typed(&["event", "send", "invoice.paid"]).await;
    world.typed(&["event", "send", "lead.created"]).await;
    let events = world.piped(&["event", "list"]).await;
    let whole = events[1]["id"].as_str().unwrap();
    let short = format!("evt_{}", ending(whole));
    let list = world.typed(&["event", "list"]).await;
    assert!(list.contains(&short) && !list.contains(whole), "{list}");
    assert!(list.contains("s ago"), "{list}");
    for part in [short.as_str(), ending(whole)] {
        let shown = world.typed(&["event", "show", part]).await;
        assert!(shown.contains(whole), "{part}: {shown}");
    }
    // Both events were sent in the same minute.
    let several = world.typed_as(TOKEN, true, &["event", "show", whole.get(..8).unwrap()]).await;
    let said = several.unwrap_err().to_string();
    assert!(said.contains("fits 2 ids") && said.contains(whole), "{said}");
    let none = world.typed_as(TOKEN, true, &["event", "replay", "evt_ffffffffffff"]).await;
    assert!(none.unwrap_err().to_string().contains("waybill event list"));

    world.typed(&["endpoint", "create", "erp", "--url", "https://erp.example/"]).await;
    let endpoint = world.piped(&["endpoint", "show", "erp"]).await;
    let id = endpoint["id"].as_str().unwrap();
    let short = format!("end_{}", ending(id));
    assert!(world.typed(&["endpoint", "show", &short]).await.contains("erp"));
    assert_eq!(
        world.typed(&["delivery", "list", "--endpoint", &short]).await,
        "no such deliveries\n"
    );
}

#[tokio::test]
async fn a_person_is_asked_before_a_deletion() {
    let world = World::start().await;
    let create = ["endpoint", "create", "erp", "--url", "https://erp.example/"];
    world.typed(&create).await;
    for answer in ["n\n", "\n", ""] {
        let kept = world.asked(answer, &["endpoint", "delete", "erp"]).await.unwrap_err();
        assert_eq!(kept.to_string(), "nothing was deleted");
    }
    assert!(world.typed(&["endpoint", "list"]).await.contains("erp"));
    let done = world.asked("y\n", &["endpoint", "delete", "erp"]).await.unwrap();
    assert_eq!(done, "Delete endpoint erp? [y/N] endpoint erp deleted\n");
    world.typed(&create).await;
    let done = world.asked("", &["endpoint", "delete", "erp", "--yes"]).await.unwrap();
    assert_eq!(done, "endpoint erp deleted\n");
    // A script is not asked.
    world.typed(&create).await;
    assert_eq!(world.typed(&["endpoint", "delete", "erp"]).await, "endpoint erp deleted\n");
}

#[tokio::test]
async fn status_tells_a_quiet_server_from_one_with_a_failing_endpoint() {
    let world = World::start().await;
    let well = world.typed(&["status"]).await;
    assert!(well.starts_with("ok Everything is well.") && well.contains("nodes 1"), "{well}");
    assert_eq!(world.piped(&["status"]).await["is_well"], true);
    let (address, mut written) = listening(&["--fail", "503"]).await;
    let url = format!("http://{address}/hook");
    let create = ["endpoint", "create", "erp", "--url", &url, "--events", "invoice.*"];
    world.typed(&create).await;
    world.typed(&["event", "send", "invoice.paid"]).await;
    until(&mut written, "answered 503").await;
    // The attempt is recorded a moment after its answer.
    let refused = loop {
        match world.typed_as(TOKEN, false, &["status"]).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, CliError::Reported));
    assert_eq!(refused.exit_code(), 1);
}

#[tokio::test]
async fn a_gap_is_shown_and_sent_and_decides_the_exit_status() {
    let world = World::start().await;
    let (address, mut written) = listening(&[]).await;
    let url = format!("http://{address}/hook");
    let create = ["endpoint", "create", "erp", "--url", &url, "--events", "invoice.*"];
    world.typed(&create).await;
    let switch = async |enabled: &str| {
        world.typed(&["endpoint", "update", "erp", "--set", &format!("enabled={enabled}")]).await
    };
    switch("false").await;
    world.typed(&["event", "send", "invoice.paid"]).await;
    switch("true").await;
    let gap = world.typed_as(TOKEN, true, &["completeness", "erp"]).await.unwrap_err();
    assert_eq!(gap.exit_code(), 1);
    let sent = world.typed(&["completeness", "erp", "--send"]).await;
    assert!(sent.contains("(UTC): XX 1 gap") && sent.contains("disabled"), "{sent}");
    assert!(sent.contains("1 new ones are made"), "{sent}");
    until(&mut written, "invoice.paid").await;
    // The attempt is recorded a moment after its answer.
    let complete = loop {
        let found = world.piped(&["completeness", "erp"]).await;
        if found["state"] != "waiting" {
            break found;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(
        (&complete["state"], &complete["gaps"]),
        (&"complete".into(), &Value::Array(vec![]))
    );
    let human = world.typed(&["completeness", "erp", "--resource", "invoice"]).await;
    assert!(human.contains("ok complete"), "{human}");
    let wrong = world.typed_as(TOKEN, true, &["completeness", "erp", "--day", "today"]).await;
    assert!(wrong.unwrap_err().to_string().contains("2026-11-30"), "an example is given");
}

#[tokio::test]
async fn a_backup_of_a_running_server_opens_and_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::start().await;
    world.typed(&["event", "send", "invoice.paid"]).await;
    let at = |name: &str| world.folder.path().join(name);
    let (database, copy) = (format!("sqlite:{}", at("waybill.db").display()), at("copy.db"));
    let back_up = async |options: &[&str]| {
        let line = ["waybill", "backup", copy.to_str().unwrap(), "--database", &database];
        let cli = CommandLine::try_parse_from([&line, options].concat()).unwrap();
        let CliCommand::Backup(args) = cli.command else { panic!("not backup") };
        let mut out = Vec::new();
        crate::cli::backup::run_backup(&args, Vec::new(), &mut CommandScreen::new(&mut out, true))
            .await?;
        Ok::<String, CliError>(String::from_utf8(out).unwrap())
    };
    let said = back_up(&[]).await.unwrap();
    assert!(said.contains("The key is not in it"), "{said}");
    let mode = copy.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let probe = crate::store::probe_database(&format!("sqlite:{}", copy.display())).await.unwrap();
    assert!(matches!(probe, crate::store::DatabaseProbe::Sqlite { .. }));
    let refused = back_up(&[]).await.unwrap_err().to_string();
    assert!(refused.contains("no backup was made") && copy.exists(), "{refused}");

    std::fs::remove_file(&copy).unwrap();
    back_up(&["--with-key"]).await.unwrap();
    let [key, copied] = ["waybill.key", "copy.db.key"].map(|name| std::fs::read(at(name)).unwrap());
    assert_eq!(key, copied);
}
