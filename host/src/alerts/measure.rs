//! Measures the values that rules compare with their limits.

use super::AlertContext;
use crate::health::endpoint_health::{
    EndpointHealth, MOST_DELIVERIES, MOST_LETTERS, SPAN, are_letters_cut, are_rates_cut,
    load_endpoint_healths,
};
use crate::health::flow_health::{FlowHealth, are_deaths_cut, load_flow_healths};
use crate::model::alert::{AlertMeasurement, AlertSubject, SubjectKind};
use crate::model::alert_rule::AlertMetric;
use crate::model::flow::FlowModule;
use crate::model::id::{EndpointId, FlowId, SourceId};
use crate::model::source::SourceKind;
use crate::model::subject_health::{HealthMemory, KeptHealth};
use crate::settings::SettingsSnapshot;
use crate::settings::module_trials::KnownTrial;
use crate::store::sources::SourceState;
use crate::store::{DeathCause, StoreError};
use crate::time::timestamp::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

/// Everything that one evaluation sees.
pub struct HealthSight {
    pub settings: Arc<SettingsSnapshot>,
    pub endpoints: HashMap<EndpointId, EndpointHealth>,
    pub flows: HashMap<FlowId, FlowHealth>,
    pub sources: Vec<SourceState>,
    pub causes: Vec<DeathCause>,
    /// Whether there may be more dead letters than were read.
    are_letters_cut: bool,
    /// Whether the dead letters that were read reach back too little for failures of modules.
    pub are_deaths_cut: bool,
    /// Whether the deliveries that were read reach back too little for failure rates.
    are_rates_cut: bool,
    /// The stored states of health. The transitions update them to the states to store.
    pub memories: BTreeMap<(SubjectKind, String), HealthMemory>,
    pub now: Timestamp,
}

impl HealthSight {
    /// Reads the newest rows, within bounds.
    pub async fn load(context: &AlertContext, now: Timestamp) -> Result<Self, StoreError> {
        let journal = &context.journal;
        let rows = journal.list_recent_deliveries(now.before(SPAN), MOST_DELIVERIES).await?;
        let kept = journal.list_health().await?;
        let causes = journal.list_death_causes(MOST_LETTERS).await?;
        Ok(Self {
            settings: context.live.current_settings(),
            endpoints: load_endpoint_healths(journal, now, &rows, &kept).await?,
            flows: load_flow_healths(journal, now).await?,
            sources: journal.list_source_states().await?,
            are_letters_cut: are_letters_cut(&causes),
            are_deaths_cut: are_deaths_cut(&causes, now),
            are_rates_cut: are_rates_cut(&rows, now),
            causes,
            memories: kept
                .into_iter()
                .map(|KeptHealth { kind, subject, memory }| ((kind, subject), memory))
                .collect(),
            now,
        })
    }

    pub fn memory(&self, kind: SubjectKind, id: &str) -> Option<&HealthMemory> {
        self.memories.get(&(kind, id.to_owned()))
    }

    /// Returns why the last run of a source failed, if it did.
    pub fn source_error(&self, id: SourceId) -> Option<&str> {
        let state = self.sources.iter().find(|state| state.source == id)?;
        state.report.error.as_deref()
    }

    fn seconds_since(&self, at: Timestamp) -> i64 {
        whole_seconds(self.now.since(at))
    }
}

fn whole_seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Collects measurements.
struct ValueCollector<'s> {
    sight: &'s HealthSight,
    found: Vec<AlertMeasurement>,
}

impl ValueCollector<'_> {
    fn note(&mut self, metric: AlertMetric, subject: &AlertSubject, value: i64, detail: String) {
        let (learnt, is_floor) = (None, false);
        let subject = subject.clone();
        self.found.push(AlertMeasurement { metric, subject, value, learnt, detail, is_floor });
    }

    /// Notes a value that was counted in a window of rows. `is_cut` says that the window was full.
    fn note_counted(
        &mut self,
        metric: AlertMetric,
        subject: &AlertSubject,
        value: i64,
        detail: String,
        is_cut: bool,
    ) {
        self.note(metric, subject, value, detail);
        if let Some(noted) = self.found.last_mut() {
            noted.is_floor = is_cut;
        }
    }

    fn note_letters(&mut self, subject: &AlertSubject, letters: i64) {
        let is_cut = self.sight.are_letters_cut;
        self.note_counted(AlertMetric::DeadLetters, subject, letters, String::new(), is_cut);
    }

    fn measure_endpoints(&mut self) {
        let sight = self.sight;
        for target in sight.settings.endpoints() {
            let subject = endpoint_subject(target.endpoint.id, &target.endpoint.settings.name);
            let health = sight.endpoints.get(&target.endpoint.id).cloned().unwrap_or_default();
            self.note_letters(&subject, count(health.dead));
            // A paused endpoint is in the state that its operator wants, so only its dead letters
            // count.
            if target.endpoint.settings.enabled {
                self.measure_endpoint(&subject, &health);
            }
        }
    }

    fn measure_endpoint(&mut self, subject: &AlertSubject, health: &EndpointHealth) {
        let sight = self.sight;
        let waiting = format!("{} waiting", health.waiting);
        if let Some(rate) = health.recent.failure_rate() {
            self.note(AlertMetric::FailureRate, subject, count(rate), waiting.clone());
        } else if sight.are_rates_cut {
            self.note_counted(AlertMetric::FailureRate, subject, 0, waiting.clone(), true);
        }
        if let Some(oldest) = health.oldest_at {
            let age = sight.seconds_since(oldest);
            self.note(AlertMetric::OldestWaiting, subject, age, waiting.clone());
        }
        let memory = sight.memory(SubjectKind::Endpoint, &subject.id);
        if let Some(since) = memory.and_then(|memory| memory.failing_since) {
            let reason = memory.and_then(|memory| memory.reason.clone()).unwrap_or_default();
            let (age, detail) = (sight.seconds_since(since), format!("{reason}; {waiting}"));
            self.note(AlertMetric::EndpointFailing, subject, age, detail);
        }
    }

    fn measure_flows(&mut self) {
        let sight = self.sight;
        for route in sight.settings.flows() {
            let id = route.flow.id;
            let subject = flow_subject(id, &route.flow.settings.name);
            let health = sight.flows.get(&id).cloned().unwrap_or_default();
            let (metric, failures) = (AlertMetric::ModuleFailures, count(health.failures()));
            let detail = health.detail.unwrap_or_default();
            self.note_counted(metric, &subject, failures, detail, sight.are_deaths_cut);
            if let Some((since, detail)) = route.find_open_breaker() {
                self.note(AlertMetric::ModuleOpen, &subject, sight.seconds_since(since), detail);
            }
            self.measure_canaries(&route.flow.settings.modules, &subject);
            let is_own =
                |cause: &DeathCause| cause.endpoint_id.is_none() && cause.flow_id == Some(id);
            self.note_letters(&subject, self.open_letters(is_own));
        }
    }

    /// Counts the canaries among a flow's modules that were rolled back in the last day. A new
    /// trial or an activation of the module ends the count.
    fn measure_canaries(&mut self, modules: &[FlowModule], subject: &AlertSubject) {
        let (settings, since) = (&self.sight.settings, self.sight.now.before(DAY));
        let uses = |known: &&KnownTrial| modules.iter().any(|used| used.name == known.module);
        let told = |known: &KnownTrial| {
            let why = known.trial.automatic_end(since)?;
            Some(format!("{} version {}: {why}", known.module, known.version))
        };
        let ended: Vec<String> = settings.trials().iter().filter(uses).filter_map(told).collect();
        if !ended.is_empty() {
            let number = count(ended.len() as u64);
            self.note(AlertMetric::CanaryRolledBack, subject, number, ended.join("; "));
        }
    }

    fn measure_sources(&mut self) {
        let sight = self.sight;
        for source in sight.settings.sources() {
            let subject = source_subject(source.id, &source.settings.name);
            let is_own = |cause: &DeathCause| cause.source_id == Some(source.id);
            self.note_letters(&subject, self.open_letters(is_own));
            if !source.settings.enabled {
                continue;
            }
            let memory = sight.memory(SubjectKind::Source, &subject.id);
            if let Some(since) = memory.and_then(|memory| memory.failing_since) {
                let reason = memory.and_then(|memory| memory.reason.clone()).unwrap_or_default();
                let age = sight.seconds_since(since);
                self.note(AlertMetric::SourceDown, &subject, age, reason);
            }
            // A schedule is silent between its times by design.
            if source.settings.kind != SourceKind::Schedule {
                self.measure_silence(subject);
            }
        }
    }

    fn measure_silence(&mut self, subject: AlertSubject) {
        let sight = self.sight;
        let memory = sight.memory(SubjectKind::Source, &subject.id);
        let Some(rhythm) = memory.and_then(|memory| memory.rhythm.as_ref()) else { return };
        let Some(silence) = rhythm.silence(sight.now) else { return };
        self.found.push(AlertMeasurement {
            metric: AlertMetric::SourceSilent,
            subject,
            value: whole_seconds(silence),
            learnt: rhythm.longest_silence().map(count),
            detail: String::new(),
            is_floor: false,
        });
    }

    fn open_letters(&self, is_own: impl Fn(&DeathCause) -> bool) -> i64 {
        let own = self.sight.causes.iter().filter(|cause| is_own(cause));
        count(own.map(|cause| cause.letters.saturating_sub(cause.replaying)).sum())
    }

    fn measure_server(&mut self, context: &AlertContext) {
        let server = |name: String| AlertSubject {
            kind: SubjectKind::Server,
            id: "server".to_owned(),
            name,
        };
        if let Some(percent) = free_percent(&context.data_dir) {
            let subject = server(context.data_dir.display().to_string());
            self.note(AlertMetric::DiskFree, &subject, percent, String::new());
        }
        if let Some(end) = context.certificate.read_end() {
            let days = end.since(self.sight.now).as_secs() / DAY.as_secs();
            let subject = server("this server".to_owned());
            self.note(AlertMetric::CertificateDays, &subject, count(days), String::new());
        }
    }
}

/// Returns the free space of a disk for this user, in percent.
fn free_percent(folder: &Path) -> Option<i64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let percent = disk.f_bavail.saturating_mul(100).checked_div(disk.f_blocks)?;
    Some(count(percent))
}

pub fn endpoint_subject(id: EndpointId, name: &str) -> AlertSubject {
    AlertSubject { kind: SubjectKind::Endpoint, id: id.to_string(), name: name.to_owned() }
}

pub fn flow_subject(id: FlowId, name: &str) -> AlertSubject {
    AlertSubject { kind: SubjectKind::Flow, id: id.to_string(), name: name.to_owned() }
}

pub fn source_subject(id: SourceId, name: &str) -> AlertSubject {
    AlertSubject { kind: SubjectKind::Source, id: id.to_string(), name: name.to_owned() }
}

/// Measures everything that the rules can evaluate.
pub fn measure_all(context: &AlertContext, sight: &HealthSight) -> Vec<AlertMeasurement> {
    let mut collector = ValueCollector { sight, found: Vec::new() };
    collector.measure_endpoints();
    collector.measure_flows();
    collector.measure_sources();
    collector.measure_server(context);
    collector.found
}
