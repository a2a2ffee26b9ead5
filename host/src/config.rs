//! The configuration: one typed value from a TOML file, the environment and the command line. Later
//! sources override earlier ones.
//!
//! Nothing here reads the environment: the binary passes its variables in. All faults are reported
//! together, each with its file and line, variable or flag. Every key is listed in [`KEYS`] and
//! shown in `waybill.example.toml`.

mod capture_rules;
pub mod error;
pub mod hidden_text;
pub mod layers;
pub mod log_address;
pub mod secret;
pub mod sections;
mod telemetry_rules;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde::de::DeserializeOwned;
use toml::Value;

use crate::model::alert_rule::AlertMetric;
use crate::model::grant_policy::is_host;
use crate::model::module_manifest::{
    HARD_COMPONENT, HARD_LOG, HARD_MEMORY, HARD_OUTPUT, HARD_REUSE, HARD_TIME,
};
use crate::model::rule_change::RuleChange;
use crate::net::http_url::read_http_url;
use crate::time::span::TimeSpan;

pub use error::{ConfigError, ConfigFault, SettingOrigin};
pub use hidden_text::HiddenText;
pub use layers::{EnvironmentPair, KeyOverride};
pub use log_address::LogAddress;
pub use sections::{
    AlertsSection, AuditSection, CaptureSection, ChannelsSection, DatabaseSection, DeliverySection,
    ImmediateSection, LogFormat, LogSection, MetricsSection, ModulesSection, RetentionSection,
    ServerSection, ShutdownSection, SmartSection, TelemetrySection, TlsSection,
};
pub use telemetry_rules::TRACE_PLACE;

/// Every key that the file and the environment may set.
pub const KEYS: [&str; 85] = [
    "server.listen",
    "server.max_body",
    "server.max_batch",
    "server.data_dir",
    "server.trusted_proxies",
    "server.max_connections",
    "server.header_timeout",
    "server.body_timeout",
    "server.cors_origins",
    "capture.log",
    "capture.credentials",
    "capture.stream",
    "capture.replicas",
    "capture.repeats",
    "capture.max_size",
    "capture.cells",
    "capture.cell",
    "tls.certificate",
    "tls.key",
    "tls.redirect_listen",
    "audit.retention",
    "retention.payloads",
    "retention.plans",
    "retention.attempts",
    "retention.deliveries",
    "retention.events",
    "retention.dead_letters",
    "retention.deleted_records",
    "retention.records",
    "retention.max_size",
    "retention.vacuum_at_start",
    "database.url",
    "database.max_connections",
    "delivery.allow_networks",
    "delivery.retry_schedule",
    "delivery.timeout",
    "delivery.max_in_flight",
    "delivery.ca_file",
    "delivery.name_servers",
    "channels.file_directories",
    "channels.smtp_without_tls",
    "smart.window",
    "smart.max_wait",
    "immediate.wait",
    "modules.dedupe_for",
    "metrics.listen",
    "metrics.require_token",
    "log.format",
    "log.access",
    "telemetry.otlp_endpoint",
    "telemetry.otlp_headers",
    "telemetry.traces",
    "telemetry.logs",
    "telemetry.sample_ratio",
    "telemetry.service_name",
    "telemetry.max_queue",
    "telemetry.trace_url",
    "alerts.enabled",
    "alerts.interval",
    "alerts.remind",
    "alerts.webhook",
    "alerts.webhook_secret",
    "alerts.dead_letters",
    "alerts.failure_rate",
    "alerts.oldest_waiting",
    "alerts.endpoint_failing",
    "alerts.source_silent",
    "alerts.source_down",
    "alerts.module_failures",
    "alerts.module_open",
    "alerts.canary_rolled_back",
    "alerts.disk_free",
    "alerts.certificate_days",
    "modules.max_component",
    "modules.max_memory",
    "modules.max_time",
    "modules.max_output",
    "modules.max_log",
    "modules.max_reuse",
    "modules.policy",
    "modules.plain_http",
    "modules.breaker_faults",
    "modules.breaker_wait",
    "shutdown.grace",
    "shutdown.drain",
];

/// The configuration of the server.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The REST interface and the pages.
    pub server: ServerSection,
    /// The capture log.
    pub capture: CaptureSection,
    /// HTTPS.
    pub tls: TlsSection,
    /// The audit of calls.
    pub audit: AuditSection,
    /// Retention of stored data.
    pub retention: RetentionSection,
    /// The database.
    pub database: DatabaseSection,
    /// Defaults and bounds of deliveries.
    pub delivery: DeliverySection,
    /// Settings for endpoints of kinds other than `webhook`.
    pub channels: ChannelsSection,
    /// Mode `smart`.
    pub smart: SmartSection,
    /// Mode `immediate`.
    pub immediate: ImmediateSection,
    /// Settings for all modules.
    pub modules: ModulesSection,
    /// Figures for Prometheus.
    pub metrics: MetricsSection,
    /// The form of the log.
    pub log: LogSection,
    /// Traces and logs for OpenTelemetry.
    pub telemetry: TelemetrySection,
    /// The alert rules.
    pub alerts: AlertsSection,
    /// The shutdown of the server.
    pub shutdown: ShutdownSection,
    /// `WAYBILL_ADMIN_TOKEN`: the first admin token. Without it the first start makes one.
    pub admin_token: Option<SecretString>,
    /// `WAYBILL_SECRET_KEY`: encrypts stored secrets. Without it a key file is used.
    pub secret_key: Option<SecretString>,
    /// `WAYBILL_SECRET_KEY_NEXT`: also decrypts stored secrets while the key is being changed.
    pub next_secret_key: Option<SecretString>,
    /// `WAYBILL_LOG`: the log filter, in the syntax of `tracing_subscriber::EnvFilter`.
    pub log_filter: Option<String>,
}

/// A database URL: `sqlite:…`, `postgres://…` or `postgresql://…`. Displayed without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl Config {
    /// Loads the configuration from `file`, if given. The environment and then the command line
    /// override it.
    ///
    /// An error lists all faults, which the operator has to correct.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = EnvironmentPair>,
        overrides: &[KeyOverride],
    ) -> Result<Self, ConfigError> {
        let text = file.map(|path| {
            let read = std::fs::read_to_string(path);
            read.map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
                .map(|text| (path.display().to_string(), text))
        });
        let text = text.transpose()?;
        let text = text.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        Self::from_parts(text, environment, overrides)
    }

    /// Like [`Config::load`], with the name and text of the file given.
    pub fn from_parts(
        file: Option<(&str, &str)>,
        environment: impl IntoIterator<Item = EnvironmentPair>,
        overrides: &[KeyOverride],
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let mut faults = Vec::new();
        let mut origins = layers::SettingOrigins::default();
        for setting in
            layers::collect_settings(file, environment, overrides, &mut config, &mut faults)
        {
            match setting.apply(&mut config) {
                Ok(()) => origins.note(&setting),
                Err(fault) => faults.push(fault),
            }
        }
        config.check(&origins, &mut faults);
        if faults.is_empty() { Ok(config) } else { Err(ConfigError::Faults(faults)) }
    }

    /// Returns a TOML file with every key, its default and its description, to start from.
    pub const fn example_toml() -> &'static str {
        include_str!("../../waybill.example.toml")
    }

    /// Returns the folder of the key file and the compiled modules: the configured one, else that
    /// of the SQLite file, else the working directory.
    pub fn data_dir(&self) -> PathBuf {
        let set = self.server.data_dir.clone();
        set.or_else(|| self.database.url.folder()).unwrap_or_else(|| PathBuf::from("."))
    }

    /// Sets one key. The error describes what is wrong with the value.
    fn set(&mut self, key: &str, value: Value) -> Result<(), String> {
        match key {
            "server.listen" => put(&mut self.server.listen, value),
            "server.max_body" => put(&mut self.server.max_body, value),
            "server.max_batch" => put(&mut self.server.max_batch, value),
            "server.data_dir" => put(&mut self.server.data_dir, value),
            "database.url" => put(&mut self.database.url.0, value),
            "database.max_connections" => put(&mut self.database.max_connections, value),
            "server.max_connections" => put(&mut self.server.max_connections, value),
            "server.header_timeout" => put(&mut self.server.header_timeout, value),
            "server.body_timeout" => put(&mut self.server.body_timeout, value),
            "server.cors_origins" => put(&mut self.server.cors_origins, value),
            "tls.certificate" => put(&mut self.tls.certificate, value),
            "tls.key" => put(&mut self.tls.key, value),
            "tls.redirect_listen" => put(&mut self.tls.redirect_listen, value),
            "audit.retention" => put(&mut self.audit.retention, value),
            "retention.payloads" => put(&mut self.retention.payloads, value),
            "retention.plans" => put(&mut self.retention.plans, value),
            "retention.attempts" => put(&mut self.retention.attempts, value),
            "retention.deliveries" => put(&mut self.retention.deliveries, value),
            "retention.events" => put(&mut self.retention.events, value),
            "retention.dead_letters" => put(&mut self.retention.dead_letters, value),
            "retention.deleted_records" => put(&mut self.retention.deleted_records, value),
            "retention.records" => put(&mut self.retention.records, value),
            "retention.max_size" => put(&mut self.retention.max_size, value),
            "retention.vacuum_at_start" => put(&mut self.retention.vacuum_at_start, value),
            "server.trusted_proxies" => put(&mut self.server.trusted_proxies, value),
            "delivery.allow_networks" => put(&mut self.delivery.allow_networks, value),
            "delivery.retry_schedule" => put(&mut self.delivery.retry_schedule, value),
            "delivery.timeout" => put(&mut self.delivery.timeout, value),
            "delivery.max_in_flight" => put(&mut self.delivery.max_in_flight, value),
            "delivery.ca_file" => put(&mut self.delivery.ca_file, value),
            "delivery.name_servers" => put(&mut self.delivery.name_servers, value),
            "channels.file_directories" => put(&mut self.channels.file_directories, value),
            "channels.smtp_without_tls" => put(&mut self.channels.smtp_without_tls, value),
            "smart.window" => put(&mut self.smart.window, value),
            "smart.max_wait" => put(&mut self.smart.max_wait, value),
            "immediate.wait" => put(&mut self.immediate.wait, value),
            "modules.dedupe_for" => put(&mut self.modules.dedupe_for, value),
            "modules.max_component" => put(&mut self.modules.max_component, value),
            "modules.max_memory" => put(&mut self.modules.max_memory, value),
            "modules.max_time" => put(&mut self.modules.max_time, value),
            "modules.max_output" => put(&mut self.modules.max_output, value),
            "modules.max_log" => put(&mut self.modules.max_log, value),
            "modules.max_reuse" => put(&mut self.modules.max_reuse, value),
            "modules.policy" => put(&mut self.modules.policy, value),
            "modules.plain_http" => put(&mut self.modules.plain_http, value),
            "modules.breaker_faults" => put(&mut self.modules.breaker_faults, value),
            "modules.breaker_wait" => put(&mut self.modules.breaker_wait, value),
            "shutdown.grace" => put(&mut self.shutdown.grace, value),
            "shutdown.drain" => put(&mut self.shutdown.drain, value),
            "metrics.listen" => put(&mut self.metrics.listen, value),
            "metrics.require_token" => put(&mut self.metrics.require_token, value),
            _ => self.set_report(key, value),
        }
    }

    /// Sets one key of the sections `capture`, `log`, `telemetry` and `alerts`.
    fn set_report(&mut self, key: &str, value: Value) -> Result<(), String> {
        match key {
            "capture.log" => put(&mut self.capture.log, value),
            "capture.credentials" => put(&mut self.capture.credentials, value),
            "capture.stream" => put(&mut self.capture.stream, value),
            "capture.replicas" => put(&mut self.capture.replicas, value),
            "capture.repeats" => put(&mut self.capture.repeats, value),
            "capture.max_size" => put(&mut self.capture.max_size, value),
            "capture.cells" => put(&mut self.capture.cells, value),
            "capture.cell" => put(&mut self.capture.cell, value),
            "log.format" => put(&mut self.log.format, value),
            "log.access" => put(&mut self.log.access, value),
            "telemetry.otlp_endpoint" => put(&mut self.telemetry.otlp_endpoint, value),
            // The parser's message would repeat the secret.
            "telemetry.otlp_headers" => put(&mut self.telemetry.otlp_headers, value)
                .map_err(|_told| telemetry_rules::HEADERS_FORM.to_owned()),
            "telemetry.traces" => put(&mut self.telemetry.traces, value),
            "telemetry.logs" => put(&mut self.telemetry.logs, value),
            "telemetry.sample_ratio" => put(&mut self.telemetry.sample_ratio, value),
            "telemetry.service_name" => put(&mut self.telemetry.service_name, value),
            "telemetry.max_queue" => put(&mut self.telemetry.max_queue, value),
            "telemetry.trace_url" => put(&mut self.telemetry.trace_url, value),
            "alerts.enabled" => put(&mut self.alerts.enabled, value),
            "alerts.interval" => put(&mut self.alerts.interval, value),
            "alerts.remind" => put(&mut self.alerts.remind, value),
            "alerts.webhook" => put(&mut self.alerts.webhook, value),
            "alerts.webhook_secret" => put(&mut self.alerts.webhook_secret, value),
            _ => self.set_rule(key, value),
        }
    }

    /// Changes the rule that `alerts.NAME` names.
    fn set_rule(&mut self, key: &str, value: Value) -> Result<(), String> {
        let metric = key.strip_prefix("alerts.").and_then(AlertMetric::named);
        let metric = metric.ok_or_else(|| "there is no such rule".to_owned())?;
        let mut change = RuleChange::default();
        put(&mut change, value)?;
        self.alerts.rules.change(metric, change)
    }

    /// Checks ranges and conditions between keys.
    fn check(&self, origins: &layers::SettingOrigins, faults: &mut Vec<ConfigFault>) {
        let rules = self.server_rules().into_iter().chain(self.delivery_rules());
        let rules = rules.chain(self.database_rules()).chain(self.retention_rules());
        let rules = rules.chain(self.alert_rules()).chain(self.capture_rules());
        let rules = rules.chain(self.module_rules()).chain(self.telemetry_rules());
        for (_, key, message) in rules.filter(|(holds, _, _)| !holds) {
            faults.push(origins.fault(key, message.to_owned()));
        }
    }

    fn server_rules(&self) -> [ConfigRule; 11] {
        let server = &self.server;
        [
            (
                (1_024..=1 << 30).contains(&server.max_body),
                "server.max_body",
                "must be 1024 to 1073741824 bytes",
            ),
            ((1..=100_000).contains(&server.max_batch), "server.max_batch", "must be 1 to 100000"),
            (
                (1..=1_000_000).contains(&server.max_connections),
                "server.max_connections",
                "must be 1 to 1000000",
            ),
            (
                check_range(server.header_timeout, SHORTEST, 10 * MINUTE),
                "server.header_timeout",
                "must be \"100ms\" to \"10m\"",
            ),
            (
                check_range(server.body_timeout, SHORTEST, 60 * MINUTE),
                "server.body_timeout",
                "must be \"100ms\" to \"1h\"",
            ),
            (
                server.cors_origins.iter().all(|origin| is_origin(origin)),
                "server.cors_origins",
                "each must be an origin such as \"https://app.example\", without a path",
            ),
            (
                self.tls.certificate.is_some() == self.tls.key.is_some(),
                "tls.key",
                "goes with tls.certificate: set both or neither",
            ),
            (
                self.tls.redirect_listen.is_none() || self.tls.certificate.is_some(),
                "tls.redirect_listen",
                "needs tls.certificate and tls.key",
            ),
            (
                server.data_dir.as_ref().is_none_or(|folder| !folder.as_os_str().is_empty()),
                "server.data_dir",
                "names no folder; leave it out for the default",
            ),
            (
                check_range(self.shutdown.grace, Duration::ZERO, 60 * MINUTE),
                "shutdown.grace",
                "must be \"1h\" at most",
            ),
            (
                check_range(self.shutdown.drain, Duration::ZERO, 60 * MINUTE),
                "shutdown.drain",
                "must be \"1h\" at most",
            ),
        ]
    }

    fn database_rules(&self) -> [ConfigRule; 2] {
        let database = &self.database;
        [
            (database.url.is_known(), "database.url", "must begin with sqlite: or postgres://"),
            (
                (4..=40).contains(&database.max_connections),
                "database.max_connections",
                "must be 4 to 40",
            ),
        ]
    }

    fn alert_rules(&self) -> [ConfigRule; 4] {
        let alerts = &self.alerts;
        let is_url = |webhook: &HiddenText| read_http_url(webhook.expose()).is_ok();
        [
            (
                check_range(alerts.interval, SHORTEST, 60 * MINUTE),
                "alerts.interval",
                "must be \"100ms\" to \"1h\"",
            ),
            (
                check_range(alerts.remind, Duration::ZERO, TimeSpan::MAX),
                "alerts.remind",
                "must be \"365d\" at most",
            ),
            (
                alerts.webhook.as_ref().is_none_or(is_url),
                "alerts.webhook",
                "must be an http or https URL",
            ),
            (
                alerts.webhook_secret.is_none() || alerts.webhook.is_some(),
                "alerts.webhook_secret",
                "signs what alerts.webhook gets: set both",
            ),
        ]
    }

    fn delivery_rules(&self) -> [ConfigRule; 7] {
        let delivery = &self.delivery;
        [
            (
                delivery.retry_schedule.len() <= 50,
                "delivery.retry_schedule",
                "may have 50 waits at most",
            ),
            (
                check_range(delivery.timeout, SHORTEST, 5 * MINUTE),
                "delivery.timeout",
                "must be \"100ms\" to \"5m\"",
            ),
            (
                (1..=1_000).contains(&delivery.max_in_flight),
                "delivery.max_in_flight",
                "must be 1 to 1000",
            ),
            (
                delivery.name_servers.len() <= 8,
                "delivery.name_servers",
                "may have 8 addresses at most",
            ),
            (
                self.smart.window <= self.smart.max_wait,
                "smart.max_wait",
                "must not be shorter than smart.window",
            ),
            (
                check_range(self.immediate.wait, Duration::ZERO, MINUTE),
                "immediate.wait",
                "must be \"60s\" at most",
            ),
            (
                check_range(self.modules.dedupe_for, MINUTE, 30 * 24 * 60 * MINUTE),
                "modules.dedupe_for",
                "must be \"1m\" to \"30d\"",
            ),
        ]
    }

    fn module_rules(&self) -> [ConfigRule; 9] {
        let modules = &self.modules;
        [
            (
                (64 << 10..=HARD_COMPONENT).contains(&modules.max_component),
                "modules.max_component",
                "must be 65536 to 25165824 bytes",
            ),
            (
                (1 << 20..=HARD_MEMORY).contains(&modules.max_memory),
                "modules.max_memory",
                "must be 1048576 to 268435456 bytes",
            ),
            (
                check_range(modules.max_time, Duration::from_millis(10), HARD_TIME),
                "modules.max_time",
                "must be \"10ms\" to \"1s\"",
            ),
            (
                (64 << 10..=HARD_OUTPUT).contains(&modules.max_output),
                "modules.max_output",
                "must be 65536 to 8388608 bytes",
            ),
            (
                (1 << 10..=HARD_LOG).contains(&modules.max_log),
                "modules.max_log",
                "must be 1024 to 1048576 bytes",
            ),
            (
                (1..=HARD_REUSE).contains(&modules.max_reuse),
                "modules.max_reuse",
                "must be 1 (a fresh instance for each event) to 256",
            ),
            (
                modules.plain_http.iter().all(|host| is_host(host)),
                "modules.plain_http",
                "each must be a host such as \"crm.internal:8080\", lower case, without scheme or path",
            ),
            (
                modules.breaker_faults <= 1_000,
                "modules.breaker_faults",
                "must be 0 (no breaker opens) to 1000",
            ),
            (
                check_range(modules.breaker_wait, Duration::from_millis(100), 60 * MINUTE),
                "modules.breaker_wait",
                "must be \"100ms\" to \"1h\"",
            ),
        ]
    }

    fn retention_rules(&self) -> Vec<ConfigRule> {
        let keep = &self.retention;
        let kinds = [
            ("retention.payloads", Some(keep.payloads)),
            ("retention.plans", Some(keep.plans)),
            ("retention.attempts", Some(keep.attempts)),
            ("retention.deliveries", Some(keep.deliveries)),
            ("retention.events", Some(keep.events)),
            ("retention.dead_letters", Some(keep.dead_letters)),
            ("retention.deleted_records", Some(keep.deleted_records)),
            ("retention.records", keep.records),
        ];
        let rule = |(key, span): (&'static str, Option<TimeSpan>)| {
            let holds = span.is_none_or(|span| check_range(span, SECOND, TimeSpan::MAX));
            (holds, key, "must be \"1s\" to \"365d\"")
        };
        let mut rules: Vec<ConfigRule> = kinds.into_iter().map(rule).collect();
        let holds = keep.events >= keep.payloads;
        rules.push((holds, "retention.events", "must not be shorter than retention.payloads"));
        let holds = keep.max_size.is_none_or(|size| size >= SMALLEST);
        rules.push((holds, "retention.max_size", "must be 67108864 bytes or more"));
        let holds = keep.max_size.is_none() || self.database.url.is_sqlite();
        rules.push((holds, "retention.max_size", "is only possible with an SQLite database"));
        rules
    }
}

/// Whether a condition holds, the key that it concerns, and the message if it does not hold.
type ConfigRule = (bool, &'static str, &'static str);

const MINUTE: Duration = Duration::from_mins(1);
/// Smallest permitted bound for the size of an SQLite database, in bytes.
const SMALLEST: u64 = 64 << 20;
const SECOND: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_millis(100);

fn check_range(span: TimeSpan, low: Duration, high: Duration) -> bool {
    (low..=high).contains(&span.get())
}

/// Returns whether a text is the origin of a page (RFC 6454, section 6.2).
fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.contains(['/', '@', '*']) && rest.parse::<http::uri::Authority>().is_ok()
    })
}

fn put<T: DeserializeOwned>(place: &mut T, value: Value) -> Result<(), String> {
    *place = T::deserialize(value).map_err(|error| error.message().to_owned())?;
    Ok(())
}

impl DatabaseUrl {
    /// Stores a URL as given. Its form is checked with the whole configuration.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// Returns the URL with its password, for the driver alone.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns whether this is an SQLite file.
    pub fn is_sqlite(&self) -> bool {
        self.0.starts_with("sqlite:")
    }

    fn is_known(&self) -> bool {
        ["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| self.0.starts_with(scheme))
    }

    /// Returns the folder of the SQLite file.
    fn folder(&self) -> Option<PathBuf> {
        let path = self.0.strip_prefix("sqlite:")?;
        let path = path.strip_prefix("//").unwrap_or(path);
        let path = path.split('?').next().filter(|path| !path.is_empty() && *path != ":memory:")?;
        Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty()).map(Path::to_owned)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.0.split_once("://").and_then(|(scheme, rest)| {
            let (login, host) = rest.rsplit_once('@')?;
            let (user, _) = login.split_once(':')?;
            Some((scheme, user, host))
        });
        match secret {
            Some((scheme, user, host)) => write!(f, "{scheme}://{user}:***@{host}"),
            None => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
use sections::seconds;

#[cfg(test)]
mod tests;
