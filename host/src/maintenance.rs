//! Housekeeping: seeing what other nodes changed, forgetting what is no longer needed.

use crate::access::audit::CallAudit;
use crate::access::grant::LIFETIME;
use crate::config::RetentionSection;
use crate::error_chain::error_chain;
use crate::model::id::EventId;
use crate::settings::live;
use crate::settings::live::LiveSettings;
use crate::store::EventStore;
use crate::store::node::BEAT;
use crate::store::objects::{ObjectChange, ObjectKind, StoredObject};
use crate::store::prune::{PruneCutoffs, PrunedCounts};
use crate::time::span::TimeSpan;
use crate::time::timestamp::Timestamp;
use serde::de::IgnoredAny;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often other nodes' changes are looked for that this one was not told, and calls go on
/// record.
const WATCH: Duration = Duration::from_secs(1);
/// How often the indexes by which modules find records are compared with what they ask for.
const INDEX: Duration = Duration::from_secs(5);
/// How often what is too old is forgotten.
const FORGET: Duration = Duration::from_mins(10);

/// What is newer than this stays, however large the database is.
const NEWEST: Duration = Duration::from_hours(1);
/// How often all payloads are looked at, also those that were needed before.
const EVERYTHING: Duration = Duration::from_hours(24);

/// What it looks after.
#[derive(Debug)]
pub struct MaintenanceContext {
    /// The record.
    pub journal: EventStore,
    /// What is set.
    pub live: LiveSettings,
    /// Calls on their way to the journal.
    pub audit: Arc<CallAudit>,
    /// How long calls are kept.
    pub calls: Duration,
    /// How long everything else is kept.
    pub retention: RetentionSection,
    /// How far payloads were pruned.
    pub pruned: Mutex<PrunedSoFar>,
}

/// Up to which event payloads were pruned, so that those before it are not looked at every time.
#[derive(Debug, Default)]
pub struct PrunedSoFar {
    to: Option<EventId>,
    /// When all were looked at.
    all_at: Timestamp,
}

/// Runs until told to stop. Each duty by itself: forgetting may take long, and a node that does not
/// tell the others that it is there loses its leases.
pub async fn run_maintenance(context: MaintenanceContext, stop: CancellationToken) {
    tokio::join!(
        run_every(WATCH, &stop, || context.watch_changes()),
        run_every(BEAT, &stop, || context.announce_process()),
        run_every(INDEX, &stop, || context.keep_indexes()),
        run_every(FORGET, &stop, || context.forget_expired()),
        run_every(context.pruning_period(), &stop, || context.prune_expired()),
        run_until(&stop, context.journal.follow_nodes()),
        run_until(&stop, context.follow_changes()),
    );
}

/// Does a duty again and again; what is under way when told to stop is left.
async fn run_every<D: Future<Output = Result<(), live::SettingsError>>>(
    period: Duration,
    stop: &CancellationToken,
    duty: impl Fn() -> D,
) {
    let mut tick = tokio::time::interval(period);
    let done = async {
        loop {
            tick.tick().await;
            if let Err(error) = duty().await {
                let error = error_chain(&error);
                tracing::warn!(error, "housekeeping has to wait for its next turn");
            }
        }
    };
    run_until(stop, done).await;
}

/// Does what has no end until told to stop.
async fn run_until(stop: &CancellationToken, duty: impl Future<Output = ()>) {
    tokio::select! {
        () = duty => {}
        () = stop.cancelled() => {}
    }
}

impl MaintenanceContext {
    /// Has calls and the use of tokens written, and takes up what other nodes changed.
    async fn watch_changes(&self) -> Result<(), live::SettingsError> {
        self.audit.write_notes(self.live.fresh_usages());
        self.live.refresh_if_newer().await
    }

    /// Fills the indexes by which modules find records, and drops those that no module asks for.
    async fn keep_indexes(&self) -> Result<(), live::SettingsError> {
        let wanted = self.live.current_settings().indexed.pairs();
        Ok(self.journal.keep_indexes(&wanted).await?)
    }

    /// Takes up at once what other nodes say that they changed. Where that fails, or is not said,
    /// [`Self::watch_changes`] does it within two seconds.
    async fn follow_changes(&self) {
        loop {
            self.journal.wait_for_changes().await;
            if let Err(error) = self.live.refresh_if_newer().await {
                tracing::warn!(error = %error_chain(&error), "cannot take up what another node changed");
            }
        }
    }

    /// Tells the other nodes that this one is there.
    async fn announce_process(&self) -> Result<(), live::SettingsError> {
        Ok(self.journal.watch_processes().await?)
    }

    /// How often what is over is pruned: every ten minutes, more often where it is kept for less
    /// than an hour.
    fn pruning_period(&self) -> Duration {
        let keep = &self.retention;
        let kinds = [
            keep.payloads,
            keep.plans,
            keep.attempts,
            keep.deliveries,
            keep.events,
            keep.dead_letters,
        ];
        let kinds = kinds.into_iter().chain([keep.deleted_records]).chain(keep.records);
        let shortest = kinds.map(TimeSpan::get).min().unwrap_or(FORGET);
        (shortest / 6).clamp(WATCH, FORGET)
    }

    /// Prunes what is older than the configuration keeps, and gives back the room.
    async fn prune_expired(&self) -> Result<(), live::SettingsError> {
        let now = self.journal.clock().now();
        let keep = &self.retention;
        let before = |span: TimeSpan| now.before(span.get());
        let cutoffs = PruneCutoffs {
            payloads: before(keep.payloads),
            plans: before(keep.plans),
            attempts: before(keep.attempts),
            deliveries: before(keep.deliveries),
            events: before(keep.events),
            dead_letters: before(keep.dead_letters),
            deleted_records: before(keep.deleted_records),
            records: keep.records.map(before),
        };
        let (from, all_at) = self.payloads_from(now);
        let pruned = self.journal.prune_expired(&cutoffs, from).await?;
        let pruned = self.prune_to_size(pruned, &cutoffs, now).await?;
        let to = Some(EventId::first_at(cutoffs.payloads));
        *self.pruned.lock().unwrap_or_else(PoisonError::into_inner) = PrunedSoFar { to, all_at };
        if pruned != PrunedCounts::default() {
            tracing::info!(?pruned, "pruned what is older than retention.* keeps");
        }
        let pages = self.journal.give_back_space().await?;
        if pages > 0 {
            tracing::info!(pages, "gave back pages of the database file");
        }
        Ok(())
    }

    /// Prunes what is not old enough yet, where the database is larger than it may be.
    async fn prune_to_size(
        &self,
        mut pruned: PrunedCounts,
        cutoffs: &PruneCutoffs,
        now: Timestamp,
    ) -> Result<PrunedCounts, live::SettingsError> {
        let Some(most) = self.retention.max_size else { return Ok(pruned) };
        let newest = now.before(NEWEST);
        let (more, is_enough) = self.journal.prune_to_size(most, cutoffs, newest).await?;
        pruned += more;
        if !is_enough {
            tracing::warn!(
                most,
                "the database is larger than retention.max_size: what is left is open work, or newer than an hour"
            );
        }
        Ok(pruned)
    }

    /// Where to go on with payloads, and when all were looked at. All are once a day, or as often
    /// as the time that they are kept: some were needed for a replay or a record the last time, and
    /// are not any more.
    fn payloads_from(&self, now: Timestamp) -> (Option<EventId>, Timestamp) {
        let so_far = self.pruned.lock().unwrap_or_else(PoisonError::into_inner);
        let again = self.retention.payloads.get().min(EVERYTHING);
        if now.since(so_far.all_at) >= again { (None, now) } else { (so_far.to, so_far.all_at) }
    }

    /// Forgets what is too old.
    async fn forget_expired(&self) -> Result<(), live::SettingsError> {
        let now = self.journal.clock().now();
        let keys = self.journal.forget_capture_keys().await?;
        let dedupe_keys = self.journal.forget_dedupe_keys().await?;
        let state = self.journal.forget_state().await?;
        let fields = self.journal.forget_record_fields().await?;
        let calls = self.journal.forget_calls(now.before(self.calls)).await?;
        let orphans = self.journal.cancel_orphans().await?;
        let sources = self.journal.forget_deleted_sources().await?;
        tracing::debug!(
            keys,
            dedupe_keys,
            state,
            fields,
            calls,
            orphans,
            sources,
            "forgot keys of repeats, what modules remembered for a time, calls on record and deleted sources, and cancelled deliveries of deleted endpoints"
        );
        // A short-lived token that has ended need not be known as revoked.
        let revoked: Vec<StoredObject<IgnoredAny>> =
            self.journal.list_objects(ObjectKind::RevokedGrant).await?;
        let over = revoked.iter().filter(|object| object.created_at.after(LIFETIME) < now);
        let over = over
            .map(|object| ObjectChange::Delete { kind: ObjectKind::RevokedGrant, id: object.id });
        let over: Vec<ObjectChange> = over.collect();
        if over.is_empty() { Ok(()) } else { Ok(self.journal.change_objects(&over).await?) }
    }
}
