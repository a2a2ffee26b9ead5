//! One running `waybill` with its own database, for one test.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde_json::Value;
use tempfile::TempDir;

use crate::database::Database;
use crate::rest::{Answer, Client};
use crate::server::{ADMIN_TOKEN, Server, Settings};

/// Time after which [`World::eventually`] fails the test.
pub const LIMIT: Duration = Duration::from_mins(3);

/// Interval of its queries.
const PACE: Duration = Duration::from_millis(20);

/// The database of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// A file in the world's folder.
    Sqlite,
    /// A fresh database on the server that `WAYBILL_TEST_POSTGRES` names.
    Postgres,
}

/// A running server, its database and a caller of its API. All of it ends with the value; a failing
/// test shows the server's output.
#[derive(Debug)]
pub struct World {
    server: Option<Server>,
    settings: Settings,
    client: Client,
    /// Dropped after the server that uses it.
    _database: Option<Database>,
    folder: TempDir,
}

impl World {
    /// Starts a world with the default settings. Returns `None` if its database is not available,
    /// which fails the test if `CI=true`.
    pub async fn start(backend: Backend) -> Option<Self> {
        Self::start_with(backend, |_| {}).await
    }

    /// Starts a world with changed settings.
    pub async fn start_with(backend: Backend, change: impl FnOnce(&mut Settings)) -> Option<Self> {
        let folder = TempDir::new().expect("a temporary folder");
        let database = match backend {
            Backend::Sqlite => None,
            Backend::Postgres => Some(fresh_database().await?),
        };
        let url = match &database {
            Some(database) => database.url(),
            None => format!("sqlite:{}", folder.path().join("waybill.db").display()),
        };
        let mut settings = Settings::new(&binary(), &url, folder.path());
        change(&mut settings);
        let server = Server::start(&settings).expect("the server starts");
        let client = Client::new(server.address(), Some(ADMIN_TOKEN));
        Some(Self { server: Some(server), settings, client, _database: database, folder })
    }

    /// Returns the caller with the admin token.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns a caller with another token, or none.
    pub fn client_with(&self, token: Option<&str>) -> Client {
        Client::new(self.server().address(), token)
    }

    /// Returns the running server.
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("the server runs")
    }

    /// Returns the world's own folder: the working folder of the server and the place of an SQLite
    /// file.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the settings of the server.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Kills the server as `kill -9` does.
    pub fn kill9(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill9();
        }
    }

    /// Asks the server to drain and exit. Fails the test unless it exits with status 0.
    pub fn stop(&mut self) {
        let mut server = self.server.take().expect("the server runs");
        let status = server.terminate().expect("SIGTERM can be sent");
        assert!(status.success(), "drained with {status}:\n{}", server.output());
    }

    /// Starts the server again on the same database. Kills it first if it still runs.
    pub fn restart(&mut self) {
        self.restart_with(|_| {});
    }

    /// Like [`Self::restart`], with changed settings.
    pub fn restart_with(&mut self, change: impl FnOnce(&mut Settings)) {
        self.kill9();
        change(&mut self.settings);
        let server = Server::start(&self.settings).expect("the server starts again");
        self.client = Client::new(server.address(), Some(ADMIN_TOKEN));
        self.server = Some(server);
    }

    /// Sends a GET that must succeed, and returns the answer's `data`.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(path).await.expect("an answer");
        expect(&answer, StatusCode::OK, path).data()
    }

    /// Sends a POST that must succeed, and returns the answer's `data`.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.client.post(path, body).await.expect("an answer");
        assert!(answer.status.is_success(), "{path}: {}: {}", answer.status, answer.text());
        answer.data()
    }

    /// Creates an endpoint, and returns its `data` with the secret.
    pub async fn endpoint(&self, endpoint: &Value) -> Value {
        self.post("/api/v1/endpoints", endpoint).await
    }

    /// Captures one event, and returns its id.
    pub async fn event(&self, event: &Value) -> String {
        let answer = self.client.post("/api/v1/events", event).await.expect("an answer");
        let data = expect(&answer, StatusCode::ACCEPTED, "/api/v1/events").data();
        text(&data, "id")
    }

    /// Reads a resource until it meets the condition. Fails the test after a generous deadline.
    pub async fn eventually(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let found = self.get(path).await;
            if wanted(&found) {
                return found;
            }
            assert!(Instant::now() < deadline, "{path} stayed {found:#}");
            tokio::time::sleep(PACE).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(server) = &self.server
        {
            show(&server.output());
        }
        self.kill9();
    }
}

/// Creates a database on the server that `WAYBILL_TEST_POSTGRES` names. Returns `None` if it is not
/// set, which fails the test if `CI=true`.
pub async fn fresh_database() -> Option<Database> {
    let Ok(server) = std::env::var("WAYBILL_TEST_POSTGRES") else {
        skip("WAYBILL_TEST_POSTGRES names no PostgreSQL; `cargo xtask test` starts one");
        return None;
    };
    Some(Database::create(&server).await.expect("PostgreSQL makes a database"))
}

/// Returns the text at a key. Fails the test if there is none.
pub fn text(value: &Value, key: &str) -> String {
    let text = value.get(key).and_then(Value::as_str);
    text.unwrap_or_else(|| panic!("no text at {key} in {value:#}")).to_owned()
}

/// Returns the answer if it has this status. Otherwise fails the test and shows the answer.
pub fn expect<'a>(answer: &'a Answer, status: StatusCode, what: &str) -> &'a Answer {
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    answer
}

/// Returns the program under test: `WAYBILL_BIN`, or the one that cargo built beside this test.
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("WAYBILL_BIN") {
        return named.into();
    }
    let test = std::env::current_exe().expect("a test knows its own path");
    let built = test.ancestors().nth(2).expect("target/debug/deps/suite").join("waybill");
    assert!(built.exists(), "{} is missing: run `cargo xtask test`", built.display());
    built
}

/// Returns a compiled guest by file name, from the folder that `WAYBILL_GUESTS` names, or from
/// where `cargo xtask test` builds them. Returns `None` if it was not built, which fails the test
/// in CI.
pub fn guest(name: &str) -> Option<Vec<u8>> {
    let file = guests().join(format!("{}.wasm", name.replace('-', "_")));
    match std::fs::read(&file) {
        Ok(component) => Some(component),
        Err(error) => {
            skip(&format!("{}: {error}; `cargo xtask test` builds it", file.display()));
            None
        }
    }
}

/// Returns the folder of the compiled guests.
pub fn guests() -> PathBuf {
    std::env::var_os("WAYBILL_GUESTS").map_or_else(built_guests, PathBuf::from)
}

fn built_guests() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target");
    target.join("wasm32-wasip2").join("guest")
}

/// Returns a component with a manifest in its custom section, as any tool might append it.
pub fn with_manifest(mut component: Vec<u8>, manifest: &Value) -> Vec<u8> {
    const SECTION: &str = "waybill:manifest";
    let text = manifest.to_string();
    let content = [&leb128(SECTION.len()), SECTION.as_bytes(), text.as_bytes()].concat();
    component.push(0);
    component.extend(leb128(content.len()));
    component.extend(content);
    component
}

/// Encodes a number as WebAssembly encodes lengths.
pub fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or_default());
    bytes
}

/// Skips a test visibly. Fails if `CI=true`, where no test may be skipped.
pub fn skip(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "nothing is skipped in CI: {why}");
    show(&format!("skipped: {why}"));
}

#[expect(clippy::print_stderr, reason = "libtest keeps it and shows it with the failing test")]
fn show(text: &str) {
    eprintln!("{text}");
}
