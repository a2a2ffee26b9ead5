//! The sections of the configuration, each with its defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::{DatabaseUrl, HiddenText};
use crate::model::grant_policy::GrantPolicy;
use crate::model::retry_schedule::RetrySchedule;
use crate::model::rule_change::AlertRules;
use crate::time::span::TimeSpan;

/// Section `server`.
#[derive(Debug, Clone)]
pub struct ServerSection {
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
    /// How long a client may take for a request's headers, and rest between requests, 100 ms to 10
    /// min.
    pub header_timeout: TimeSpan,
    /// How long a client may take for a request's body, 100 ms to 1 h.
    pub body_timeout: TimeSpan,
    /// Origins whose pages may call the API, such as `https://app.example`.
    pub cors_origins: Vec<String>,
}

/// Section `tls`.
#[derive(Debug, Clone, Default)]
pub struct TlsSection {
    /// PEM file of the certificate and those between it and its authority; with it the server
    /// speaks HTTPS alone.
    pub certificate: Option<PathBuf>,
    /// PEM file of its private key.
    pub key: Option<PathBuf>,
    /// Address and port where plain HTTP is sent on to HTTPS.
    pub redirect_listen: Option<SocketAddr>,
}

/// Section `metrics`.
#[derive(Debug, Clone, Default)]
pub struct MetricsSection {
    /// Address and port of a listener of its own for `/metrics`, which is then not served beside the
    /// API.
    pub listen: Option<SocketAddr>,
    /// Whether `/metrics` needs a token with the scope `metrics:read`.
    pub require_token: bool,
}

/// Section `alerts`.
#[derive(Debug, Clone)]
pub struct AlertsSection {
    /// Whether rules are looked at.
    pub enabled: bool,
    /// How often, 100 ms to 1 h.
    pub interval: TimeSpan,
    /// How often a notice is repeated of what still fires; never where it is zero.
    pub remind: TimeSpan,
    /// Where notices go too, without a flow.
    pub webhook: Option<HiddenText>,
    /// What those are signed with.
    pub webhook_secret: Option<HiddenText>,
    /// What is measured, and from when on it is an alert.
    pub rules: AlertRules,
}

/// Section `audit`.
#[derive(Debug, Clone)]
pub struct AuditSection {
    /// How long calls are kept on record; none are where it is zero.
    pub retention: TimeSpan,
}

/// Section `retention`: how long what is stored is kept. Open work is kept however old it is.
#[derive(Debug, Clone)]
pub struct RetentionSection {
    /// Data of events, and what modules made of it.
    pub payloads: TimeSpan,
    /// What modules said of events.
    pub plans: TimeSpan,
    /// Attempts of deliveries.
    pub attempts: TimeSpan,
    /// Deliveries; attempts go with them.
    pub deliveries: TimeSpan,
    /// Events, once nothing else is left of them; at least `payloads`.
    pub events: TimeSpan,
    /// Dead letters, with what their replay needs.
    pub dead_letters: TimeSpan,
    /// Records that their source deleted.
    pub deleted_records: TimeSpan,
    /// Records that their source has, since they were last heard of; for ever where it is not set.
    pub records: Option<TimeSpan>,
    /// Most bytes of an SQLite database, from 64 MiB; above it the oldest goes before its time. No
    /// bound where it is not set.
    pub max_size: Option<u64>,
    /// Whether an SQLite file is written anew at the start.
    pub vacuum_at_start: bool,
}

/// Section `database`.
#[derive(Debug, Clone)]
pub struct DatabaseSection {
    /// Where the journal is.
    pub url: DatabaseUrl,
    /// Connections of this process to PostgreSQL, 4 to 40. SQLite has five, whatever is set.
    pub max_connections: u32,
}

/// Section `delivery`.
#[derive(Debug, Clone)]
pub struct DeliverySection {
    /// Networks beyond the public addresses that deliveries may go to.
    pub allow_networks: Vec<IpNet>,
    /// Waits between the attempts of a delivery, at most 50.
    pub retry_schedule: Vec<TimeSpan>,
    /// How long one attempt may take in all, 100 ms to 5 min.
    pub timeout: TimeSpan,
    /// Requests at once for one endpoint, 1 to 1,000.
    pub max_in_flight: u32,
    /// PEM file of further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// Name servers to ask in place of those of `/etc/resolv.conf`, at most 8.
    pub name_servers: Vec<SocketAddr>,
}

/// Section `channels`: what endpoints of other kinds than `webhook` may do.
#[derive(Debug, Clone, Default)]
pub struct ChannelsSection {
    /// Folders in which endpoints of kind `file` may write, absolute; none by default.
    pub file_directories: Vec<PathBuf>,
    /// Whether an endpoint of kind `email` may send over connections without TLS.
    pub smtp_without_tls: bool,
}

/// Section `smart`.
#[derive(Debug, Clone)]
pub struct SmartSection {
    /// Deliveries for one record collapse while they come closer together than this.
    pub window: TimeSpan,
    /// And never wait longer than this; at least `window`.
    pub max_wait: TimeSpan,
}

/// Section `immediate`.
#[derive(Debug, Clone)]
pub struct ImmediateSection {
    /// How long a capturing request waits for the first attempt, at most 60 s.
    pub wait: TimeSpan,
}

/// Section `modules`.
#[derive(Debug, Clone)]
pub struct ModulesSection {
    /// How long a dedupe key holds back further deliveries, 1 min to 30 days.
    pub dedupe_for: TimeSpan,
    /// Largest component in bytes, 64 KiB to 24 MiB.
    pub max_component: usize,
    /// Most memory that a module may ask for, in bytes, 1 MiB to 256 MiB.
    pub max_memory: usize,
    /// Most processor time of one call that a module may ask for, 10 ms to 1 s.
    pub max_time: TimeSpan,
    /// Most bytes that a module may ask to return in one call, 64 KiB to 8 MiB.
    pub max_output: usize,
    /// Most bytes of log of one call that a module may ask for, 1 KiB to 1 MiB.
    pub max_log: usize,
    /// Which capabilities modules get: those that ask, those that somebody approved, or none.
    pub policy: GrantPolicy,
    /// Hosts that modules may send requests to without TLS, as manifests name them.
    pub plain_http: Vec<String>,
}

/// Section `shutdown`.
#[derive(Debug, Clone)]
pub struct ShutdownSection {
    /// How long running deliveries may take to finish.
    pub grace: TimeSpan,
    /// How long requests are still taken after `/readyz` said that the server stops, so that a load
    /// balancer has turned away before the listener closes.
    pub drain: TimeSpan,
}

impl Default for ServerSection {
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

impl Default for AuditSection {
    fn default() -> Self {
        Self { retention: TimeSpan::new(Duration::from_hours(90 * 24)) }
    }
}

impl Default for RetentionSection {
    fn default() -> Self {
        let days = |days: u64| TimeSpan::new(Duration::from_hours(days * 24));
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

impl Default for DatabaseSection {
    fn default() -> Self {
        Self { url: DatabaseUrl("sqlite:waybill.db".to_owned()), max_connections: 9 }
    }
}

impl Default for DeliverySection {
    fn default() -> Self {
        Self {
            allow_networks: Vec::new(),
            retry_schedule: RetrySchedule::default().steps,
            timeout: seconds(30),
            max_in_flight: 96,
            ca_file: None,
            name_servers: Vec::new(),
        }
    }
}

impl Default for AlertsSection {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: seconds(10),
            remind: TimeSpan::new(Duration::from_hours(24)),
            webhook: None,
            webhook_secret: None,
            rules: AlertRules::default(),
        }
    }
}

impl Default for SmartSection {
    fn default() -> Self {
        Self { window: seconds(2), max_wait: seconds(10) }
    }
}

impl Default for ImmediateSection {
    fn default() -> Self {
        Self { wait: seconds(5) }
    }
}

impl Default for ModulesSection {
    fn default() -> Self {
        Self {
            dedupe_for: TimeSpan::new(Duration::from_hours(24)),
            max_component: 4 << 20,
            max_memory: 64 << 20,
            max_time: TimeSpan::new(Duration::from_millis(100)),
            max_output: 2 << 20,
            max_log: 64 << 10,
            policy: GrantPolicy::default(),
            plain_http: Vec::new(),
        }
    }
}

impl Default for ShutdownSection {
    fn default() -> Self {
        Self { grace: seconds(10), drain: seconds(0) }
    }
}

pub const fn seconds(n: u64) -> TimeSpan {
    TimeSpan::new(Duration::from_secs(n))
}
