//! The sections of the configuration, with their defaults.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::{DatabaseUrl, HiddenText};
use crate::model::grant_policy::GrantPolicy;
use crate::model::retry_schedule::RetrySchedule;
use crate::model::rule_change::AlertRules;
use crate::time::span::TimeSpan;

/// Section `server`.
#[derive(Debug, Clone)]
pub struct ServerSection {
    /// Address and port to listen on. Port 0 chooses a free one.
    pub listen: SocketAddr,
    /// Largest request body in bytes, 1 KiB to 1 GiB.
    pub max_body: usize,
    /// Largest number of events in one request, 1 to 100,000.
    pub max_batch: usize,
    /// Folder of the key file and the compiled modules, if set; see [`super::Config::data_dir`].
    pub data_dir: Option<PathBuf>,
    /// Networks of proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Largest number of connections, 1 to 1,000,000.
    pub max_connections: usize,
    /// Time that a client has to send a request's headers, and longest idle time between requests,
    /// 100 ms to 10 min.
    pub header_timeout: TimeSpan,
    /// Time that a client has to send a request's body, 100 ms to 1 h.
    pub body_timeout: TimeSpan,
    /// Origins whose pages may call the API, such as `https://app.example`.
    pub cors_origins: Vec<String>,
}

/// Section `capture`: a replicated log in front of the database.
#[derive(Debug, Clone)]
pub struct CaptureSection {
    /// Servers of NATS JetStream that take captures: `nats://HOST:4222`, or several hosts with
    /// commas between them. Without it, captures go to the database.
    pub log: Option<HiddenText>,
    /// File with the seed of a user's key (`SU…`), or a `.creds` file, to log in with.
    pub credentials: Option<PathBuf>,
    /// Name of the stream, which is made if it is missing.
    pub stream: String,
    /// Number of servers that store each message, 1 to 5.
    pub replicas: u8,
    /// Time for which the stream recognises repeats, 1 s to 24 h. Messages stay at least as long.
    pub repeats: TimeSpan,
    /// Largest size of the stream in bytes, at least 1 MiB. A full stream refuses captures.
    pub max_size: u64,
    /// Number of cells that share the stream, 1 to 256. Each has its own nodes and database.
    pub cells: u16,
    /// The cell of this node, 1 to `capture.cells`. It takes the events of its records.
    pub cell: u16,
}

/// Section `tls`.
#[derive(Debug, Clone, Default)]
pub struct TlsSection {
    /// PEM file of the certificate and its intermediate certificates. If it is set, the server
    /// accepts HTTPS only.
    pub certificate: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    pub key: Option<PathBuf>,
    /// Address and port from which plain HTTP is redirected to HTTPS.
    pub redirect_listen: Option<SocketAddr>,
}

/// Section `metrics`.
#[derive(Debug, Clone, Default)]
pub struct MetricsSection {
    /// Address and port of a separate listener for `/metrics`. The API's listener then does not
    /// serve `/metrics`.
    pub listen: Option<SocketAddr>,
    /// Whether `/metrics` needs a token with the scope `metrics:read`.
    pub require_token: bool,
}

/// Section `log`.
#[derive(Debug, Clone, Default)]
pub struct LogSection {
    /// The form of the lines on standard error.
    pub format: LogFormat,
    /// Whether each request has a line of the target `waybill::access`.
    pub access: bool,
}

/// The form of the log on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object for each line.
    Json,
}

/// Section `telemetry`: traces and logs by OTLP.
#[derive(Debug, Clone)]
pub struct TelemetrySection {
    /// URL of the receiver, to which `/v1/traces` and `/v1/logs` are added. Nothing is exported
    /// without it.
    pub otlp_endpoint: Option<HiddenText>,
    /// Headers of each export, by name, at most 20.
    pub otlp_headers: BTreeMap<String, HiddenText>,
    /// Whether spans are exported.
    pub traces: bool,
    /// Whether the log is exported.
    pub logs: bool,
    /// Share of the events whose spans are exported, 0 to 1. An event that brought a trace context
    /// is exported if its sender recorded it.
    pub sample_ratio: f64,
    /// The resource attribute `service.name`, 1 to 255 bytes.
    pub service_name: String,
    /// Most spans, and most lines of the log, that wait for their export, 64 to 1,000,000. Further
    /// ones are dropped and counted.
    pub max_queue: usize,
    /// URL of a trace in the tracing system, with `{trace_id}` in the place of its id. Pages and
    /// answers then have a link.
    pub trace_url: Option<String>,
}

/// Section `alerts`.
#[derive(Debug, Clone)]
pub struct AlertsSection {
    /// Whether rules are evaluated.
    pub enabled: bool,
    /// Interval of the evaluation, 100 ms to 1 h.
    pub interval: TimeSpan,
    /// Interval at which the notice of a firing alert is repeated. Zero means never.
    pub remind: TimeSpan,
    /// URL that receives notices directly, without a flow.
    pub webhook: Option<HiddenText>,
    /// Secret with which notices to `webhook` are signed.
    pub webhook_secret: Option<HiddenText>,
    /// The rules and their limits.
    pub rules: AlertRules,
}

/// Section `audit`.
#[derive(Debug, Clone)]
pub struct AuditSection {
    /// Retention of audited calls. Zero disables the audit.
    pub retention: TimeSpan,
}

/// Section `retention`: how long stored data is kept. Open work is kept regardless of its age.
#[derive(Debug, Clone)]
pub struct RetentionSection {
    /// Data of events, and everything that modules made from it.
    pub payloads: TimeSpan,
    /// Plans of events, with the steps of modules.
    pub plans: TimeSpan,
    /// Attempts of deliveries.
    pub attempts: TimeSpan,
    /// Deliveries, together with their attempts.
    pub deliveries: TimeSpan,
    /// Events of which nothing else is left. At least `payloads`.
    pub events: TimeSpan,
    /// Dead letters, with the data that their replay needs.
    pub dead_letters: TimeSpan,
    /// Records that their source deleted.
    pub deleted_records: TimeSpan,
    /// Records that still exist, counted from their last event. Kept for ever if not set.
    pub records: Option<TimeSpan>,
    /// Largest size of an SQLite database in bytes, from 64 MiB. Above it the oldest data is
    /// deleted early. Not bounded if not set.
    pub max_size: Option<u64>,
    /// Whether an SQLite file is rewritten at the start.
    pub vacuum_at_start: bool,
}

/// Section `database`.
#[derive(Debug, Clone)]
pub struct DatabaseSection {
    /// URL of the database.
    pub url: DatabaseUrl,
    /// Number of connections of this process to PostgreSQL, 4 to 40. SQLite always has five.
    pub max_connections: u32,
}

/// Section `delivery`.
#[derive(Debug, Clone)]
pub struct DeliverySection {
    /// Networks, besides public addresses, to which deliveries may go.
    pub allow_networks: Vec<IpNet>,
    /// Waits between the attempts of a delivery, at most 50.
    pub retry_schedule: Vec<TimeSpan>,
    /// Time-out of a whole attempt, 100 ms to 5 min.
    pub timeout: TimeSpan,
    /// Largest number of concurrent requests to one endpoint, 1 to 1,000.
    pub max_in_flight: u32,
    /// PEM file of further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// Name servers to use instead of those in `/etc/resolv.conf`, at most 8.
    pub name_servers: Vec<SocketAddr>,
}

/// Section `channels`: settings for endpoints of kinds other than `webhook`.
#[derive(Debug, Clone, Default)]
pub struct ChannelsSection {
    /// Folders in which endpoints of kind `file` may write, as absolute paths. None by default.
    pub file_directories: Vec<PathBuf>,
    /// Whether an endpoint of kind `email` may use connections without TLS.
    pub smtp_without_tls: bool,
}

/// Section `smart`.
#[derive(Debug, Clone)]
pub struct SmartSection {
    /// Deliveries for one record collapse while they are closer together than this.
    pub window: TimeSpan,
    /// Longest wait of a collapsing delivery. At least `window`.
    pub max_wait: TimeSpan,
}

/// Section `immediate`.
#[derive(Debug, Clone)]
pub struct ImmediateSection {
    /// Time that a capturing request waits for the first attempt, at most 60 s.
    pub wait: TimeSpan,
}

/// Section `modules`.
#[derive(Debug, Clone)]
pub struct ModulesSection {
    /// Time for which a dedupe key holds back further deliveries, 1 min to 30 days.
    pub dedupe_for: TimeSpan,
    /// Largest component in bytes, 64 KiB to 24 MiB.
    pub max_component: usize,
    /// Largest memory that a module may request, in bytes, 1 MiB to 256 MiB.
    pub max_memory: usize,
    /// Largest processor time of one call that a module may request, 10 ms to 1 s.
    pub max_time: TimeSpan,
    /// Largest output of one call that a module may request, in bytes, 64 KiB to 8 MiB.
    pub max_output: usize,
    /// Largest log of one call that a module may request, in bytes, 1 KiB to 1 MiB.
    pub max_log: usize,
    /// Most events that one instance of a module may handle, if its manifest requests it, 1 to 256.
    pub max_reuse: u32,
    /// Decides which capabilities modules get: those that they request, those that somebody
    /// approved, or none.
    pub policy: GrantPolicy,
    /// Hosts to which modules may send requests without TLS, as manifests name them.
    pub plain_http: Vec<String>,
    /// Faults in a row (traps, exceeded time or memory) that open a module's breaker, 0 to 1000.
    /// With 0, no breaker opens.
    pub breaker_faults: u32,
    /// Time until an open breaker lets one event through to try the module, 100 ms to 1 h.
    pub breaker_wait: TimeSpan,
}

/// Section `shutdown`.
#[derive(Debug, Clone)]
pub struct ShutdownSection {
    /// Time that running deliveries have to finish.
    pub grace: TimeSpan,
    /// Time for which the server still accepts requests after `/readyz` reports that it stops, so
    /// that a load balancer has turned away before the listener closes.
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

impl Default for CaptureSection {
    fn default() -> Self {
        Self {
            log: None,
            credentials: None,
            stream: "WAYBILL_CAPTURE".to_owned(),
            replicas: 3,
            repeats: TimeSpan::new(Duration::from_mins(10)),
            max_size: 1 << 30,
            cells: 1,
            cell: 1,
        }
    }
}

impl Default for TelemetrySection {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            otlp_headers: BTreeMap::new(),
            traces: true,
            logs: false,
            sample_ratio: 1.0,
            service_name: "waybill".to_owned(),
            max_queue: 8_192,
            trace_url: None,
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
            max_reuse: 1,
            policy: GrantPolicy::default(),
            plain_http: Vec::new(),
            breaker_faults: 5,
            breaker_wait: seconds(30),
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
