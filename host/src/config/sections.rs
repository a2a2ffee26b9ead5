//! The sections of the configuration, each with its defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::DatabaseUrl;
use crate::model::retry_schedule::Schedule;
use crate::time::span::Span;

/// Section `server`.
#[derive(Debug, Clone)]
pub struct Server {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Longest request body in bytes, 1 KiB to 1 GiB.
    pub max_body: usize,
    /// Most events in one request, 1 to 100,000.
    pub max_batch: usize,
    /// Folder of the key file and the compiled modules, if set; see [`super::Config::data_dir`].
    pub data_dir: Option<PathBuf>,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Connections at once, 1 to 1,000,000.
    pub max_connections: usize,
    /// How long a client may take for a request's headers, and rest between requests, 100 ms to 10 min.
    pub header_timeout: Span,
    /// How long a client may take for a request's body, 100 ms to 1 h.
    pub body_timeout: Span,
    /// Origins whose pages may call the API, such as `https://app.example`.
    pub cors_origins: Vec<String>,
}

/// Section `tls`.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// PEM file of the certificate and those between it and its authority; with it the server speaks HTTPS alone.
    pub certificate: Option<PathBuf>,
    /// PEM file of its private key.
    pub key: Option<PathBuf>,
    /// Address and port where plain HTTP is sent on to HTTPS.
    pub redirect_listen: Option<SocketAddr>,
}

/// Section `audit`.
#[derive(Debug, Clone)]
pub struct Audit {
    /// How long calls are kept on record; none are where it is zero.
    pub retention: Span,
}

/// Section `retention`: how long what is stored is kept. Open work is kept however old it is.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Data of events, and what modules made of it.
    pub payloads: Span,
    /// What modules said of events.
    pub plans: Span,
    /// Attempts of deliveries.
    pub attempts: Span,
    /// Deliveries; attempts go with them.
    pub deliveries: Span,
    /// Events, once nothing else is left of them; at least `payloads`.
    pub events: Span,
    /// Dead letters, with what their replay needs.
    pub dead_letters: Span,
    /// Records that their source deleted.
    pub deleted_records: Span,
    /// Records that their source has, since they were last heard of; for ever where it is not set.
    pub records: Option<Span>,
    /// Most bytes of an SQLite database, from 64 MiB; above it the oldest goes before its time. No
    /// bound where it is not set.
    pub max_size: Option<u64>,
    /// Whether an SQLite file is written anew at the start.
    pub vacuum_at_start: bool,
}

/// Section `database`.
#[derive(Debug, Clone)]
pub struct Database {
    /// Where the journal is.
    pub url: DatabaseUrl,
}

/// Section `delivery`.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Networks beyond the public addresses that deliveries may go to.
    pub allow_networks: Vec<IpNet>,
    /// Waits between the attempts of a delivery, at most 50.
    pub retry_schedule: Vec<Span>,
    /// How long one attempt may take in all, 100 ms to 5 min.
    pub timeout: Span,
    /// Requests at once for one endpoint, 1 to 1,000.
    pub max_in_flight: u32,
    /// PEM file of further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// Name servers to ask in place of those of `/etc/resolv.conf`, at most 8.
    pub name_servers: Vec<SocketAddr>,
}

/// Section `smart`.
#[derive(Debug, Clone)]
pub struct Smart {
    /// Deliveries for one record collapse while they come closer together than this.
    pub window: Span,
    /// And never wait longer than this; at least `window`.
    pub max_wait: Span,
}

/// Section `immediate`.
#[derive(Debug, Clone)]
pub struct Immediate {
    /// How long a capturing request waits for the first attempt, at most 60 s.
    pub wait: Span,
}

/// Section `modules`.
#[derive(Debug, Clone)]
pub struct Modules {
    /// How long a dedupe key holds back further deliveries, 1 min to 30 days.
    pub dedupe_for: Span,
}

/// Section `shutdown`.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// How long running deliveries may take to finish.
    pub grace: Span,
}

impl Default for Server {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 8400));
        Self {
            listen,
            max_body: 1_048_576,
            max_batch: 1_000,
            data_dir: None,
            trusted_proxies: Vec::new(),
            max_connections: 16_384,
            header_timeout: seconds(30),
            body_timeout: seconds(30),
            cors_origins: Vec::new(),
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self { retention: Span::new(Duration::from_hours(90 * 24)) }
    }
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Span::new(Duration::from_hours(days * 24));
        Self {
            payloads: days(30),
            plans: days(30),
            attempts: days(30),
            deliveries: days(30),
            events: days(30),
            dead_letters: days(90),
            deleted_records: days(30),
            records: None,
            max_size: None,
            vacuum_at_start: false,
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self { url: DatabaseUrl("sqlite:waybill.db".to_owned()) }
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            allow_networks: Vec::new(),
            retry_schedule: Schedule::default().steps,
            timeout: seconds(30),
            max_in_flight: 96,
            ca_file: None,
            name_servers: Vec::new(),
        }
    }
}

impl Default for Smart {
    fn default() -> Self {
        Self { window: seconds(2), max_wait: seconds(10) }
    }
}

impl Default for Immediate {
    fn default() -> Self {
        Self { wait: seconds(5) }
    }
}

impl Default for Modules {
    fn default() -> Self {
        Self { dedupe_for: Span::new(Duration::from_hours(24)) }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace: seconds(10) }
    }
}

pub const fn seconds(n: u64) -> Span {
    Span::new(Duration::from_secs(n))
}
