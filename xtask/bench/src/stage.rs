//! The environment of the cases: the program, the guests, the databases, a folder on a real disk.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use waybill_tests::{Client, Database, Server, Settings};

use crate::cases::Crm;
use crate::sink::Sink;
use crate::{Options, census};

/// The database of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// A file below the target folder.
    Sqlite,
    /// A fresh database of a server on this machine.
    Postgres,
}

/// Resources that all cases share.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The program.
    program: PathBuf,
    /// The compiled guests.
    guests: PathBuf,
    /// PostgreSQL, if it is available.
    pub(crate) postgres: Option<String>,
    /// Its main process.
    postgres_pid: Option<u32>,
    /// MariaDB, if it is available.
    pub(crate) mariadb: Option<String>,
    /// Its process.
    pub(crate) mariadb_pid: Option<u32>,
    /// A CRM's database on it, filled for the first case that needs it.
    pub(crate) crm: OnceCell<Crm>,
    /// Folder of the database files, on a real disk, because syncing a memory file system costs
    /// nothing.
    pub(crate) folder: PathBuf,
    /// Whether each case uses few events.
    pub(crate) quick: bool,
}

/// One server with its own database, for one round of one case.
#[derive(Debug)]
pub(crate) struct Scene {
    /// The running program.
    pub(crate) server: Server,
    /// A client with the admin token.
    pub(crate) client: Client,
    /// The settings of its start.
    settings: Settings,
    /// PostgreSQL's main process, if its CPU time is counted.
    postgres: Option<u32>,
    _database: Option<Database>,
    /// Removed after everything that uses it.
    _folder: TempDir,
}

impl Stage {
    /// Prepares the resources that the options name.
    pub(crate) fn set(options: &Options) -> Result<Self> {
        std::fs::create_dir_all(&options.folder)?;
        Ok(Self {
            program: std::path::absolute(&options.program)?,
            guests: options.guests.clone(),
            postgres: options.postgres.clone(),
            postgres_pid: options.postgres_pid,
            mariadb: options.mariadb.clone(),
            mariadb_pid: options.mariadb_pid,
            crm: OnceCell::new(),
            folder: std::path::absolute(&options.folder)?,
            quick: options.quick,
        })
    }

    /// Returns the build profile of the program: cargo uses a folder with its name.
    pub(crate) fn build(&self) -> String {
        let profile = self.program.parent().and_then(std::path::Path::file_name);
        profile.unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Starts the program on a fresh database.
    pub(crate) async fn open(&self, backend: Backend) -> Result<Scene> {
        self.open_with(backend, &[]).await
    }

    /// Like [`Self::open`], with other settings than the default.
    pub(crate) async fn open_with(
        &self,
        backend: Backend,
        changed: &[(&str, &str)],
    ) -> Result<Scene> {
        let folder = TempDir::new_in(&self.folder)?;
        let (database, url, postgres) = match backend {
            Backend::Sqlite => {
                (None, format!("sqlite:{}", folder.path().join("w.db").display()), None)
            }
            Backend::Postgres => {
                let server = self.postgres.as_ref().context("PostgreSQL is not to be had")?;
                let database = Database::create(server).await?;
                let url = database.url();
                (Some(database), url, self.postgres_pid)
            }
        };
        let mut settings = Settings::new(&self.program, &url, folder.path());
        for (key, value) in changed {
            settings.set(key, value);
        }
        let server = Server::start(&settings)?;
        let client = client_of(&server);
        Ok(Scene { server, client, settings, postgres, _database: database, _folder: folder })
    }

    /// Returns a compiled guest.
    pub(crate) fn guest(&self, name: &str) -> Result<Vec<u8>> {
        let file = self.guests.join(format!("{}.wasm", name.replace('-', "_")));
        std::fs::read(&file).with_context(|| format!("{}", file.display()))
    }
}

impl Scene {
    /// Sends a GET that must succeed, and returns the answer's `data`.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.client.get(path).await?;
        if !answer.status.is_success() {
            bail!("{path}: {}: {}", answer.status, answer.text());
        }
        Ok(answer.data())
    }

    /// Sends a POST that must succeed, and returns the answer's `data`.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self.client.post(path, body).await?;
        if !answer.status.is_success() {
            bail!("{path}: {}: {}", answer.status, answer.text());
        }
        Ok(answer.data())
    }

    /// Uploads and activates a module.
    pub(crate) async fn module(&self, name: &str, component: Vec<u8>) -> Result<()> {
        let path = format!("/api/v1/modules/{name}?activate=true");
        let call = waybill_tests::rest::Call::post(&path, "application/wasm", component);
        let answer = self.client.send(call).await?;
        if !answer.status.is_success() {
            bail!("{path}: {}: {}", answer.status, answer.text());
        }
        Ok(())
    }

    /// Creates endpoints at the sink, numbered from 0, for these events, and returns their names.
    /// The sink learns their secrets.
    pub(crate) async fn endpoints(
        &self,
        sink: &Sink,
        count: usize,
        events: &[&str],
    ) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for n in 0..count {
            let name = format!("bench-{n}");
            let endpoint = json!({"name": name, "url": sink.url(n), "events": events});
            let made = self.post("/api/v1/endpoints", &endpoint).await?;
            let secret = made.get("secret").and_then(Value::as_str);
            sink.book.secret(n, secret.context("a new endpoint shows its secret")?)?;
            names.push(name);
        }
        Ok(names)
    }

    /// Returns the CPU time so far of the server, and of PostgreSQL if the benchmark started it, in
    /// microseconds.
    pub(crate) fn cpu_micros(&self) -> u64 {
        let database = self.postgres.map_or(0, census::cpu_micros);
        census::cpu_micros(self.server.pid()) + database
    }

    /// Returns the URL of its database.
    pub(crate) fn database(&self) -> &str {
        &self.settings.database
    }

    /// Sets a configuration key for the next start.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.settings.set(key, value);
    }

    /// Drains the server and ends it.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.server.terminate()?;
        Ok(())
    }

    /// Starts it again on the same database.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.server = Server::start(&self.settings)?;
        self.client = client_of(&self.server);
        Ok(())
    }

    /// Stops the server and starts it again.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start()
    }
}

fn client_of(server: &Server) -> Client {
    Client::new(server.address(), Some(waybill_tests::server::ADMIN_TOKEN))
}
