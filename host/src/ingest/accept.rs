//! Makes incoming events durable, and waits for their immediate deliveries.

use super::capture_log::cells::{cell_of, share_out};
use super::capture_log::logged_request::{EventToLog, LoggedEvent, LoggedRequest};
use super::capture_log::{CaptureLog, LogRefusal};
use super::incoming::IncomingEvent;
use super::repeats::RepeatKeys;
use crate::catalog;
use crate::crypto::digest::ShortDigest;
use crate::json::storable::make_storable;
use crate::model::api_call::ApiCall;
use crate::model::delivery::DeliveryStatus;
use crate::model::endpoint::DeliveryMode;
use crate::model::event::{DEFAULT_SOURCE, Event};
use crate::model::fault::InputFault;
use crate::model::id::{DeliveryId, EndpointId, EventId};
use crate::model::record::RecordChange;
use crate::settings::SettingsSnapshot;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::settings::matching::EventMatches;
use crate::settings::source_runtime::SourceRuntime;
use crate::store;
use crate::store::watch::{EventNotice, EventWatch};
use crate::store::{AlertChanges, SourceChanges};
use crate::store::{CaptureReceipt, DeliveryProgress, EventCapture, EventStore, IdempotencyKeys};
use crate::time::timestamp::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a request may look up deliveries after its wait is over, because notices of them did
/// not arrive.
const LONGEST_LOOK: Duration = Duration::from_secs(2);

/// An accepted event, with the deliveries that its caller waits for.
#[derive(Debug)]
pub struct AcceptedEvent {
    pub receipt: CaptureReceipt,
    /// The deliveries to `immediate` endpoints.
    pub immediate: Vec<AwaitedDelivery>,
}

/// A delivery that the request waited for.
#[derive(Debug, Clone)]
pub struct AwaitedDelivery {
    pub id: DeliveryId,
    /// The endpoint that the delivery goes to.
    pub endpoint: EndpointId,
    /// The state of the delivery. It is pending if the wait was too short.
    pub status: DeliveryStatus,
    /// The HTTP status of the answer.
    pub response_status: Option<u16>,
    /// The duration of the first attempt.
    pub duration: Option<Duration>,
}

/// Why events were not accepted.
#[derive(Debug)]
pub enum AcceptError {
    /// A source refuses them.
    Invalid(Vec<InputFault>),
    /// They could not be stored.
    Journal(store::StoreError),
    /// The capture log did not take them.
    Log(LogRefusal),
}

/// Where accepted events become durable.
#[derive(Debug)]
pub struct CapturePlace<'a> {
    pub journal: &'a EventStore,
    /// The capture log, if there is one.
    pub log: Option<&'a Arc<CaptureLog>>,
    /// The row of the audit that goes with the events into the log.
    pub call: Option<ApiCall>,
}

/// A part of a request that was made durable.
struct DurableCapture {
    receipt: CaptureReceipt,
    runtime: Option<Arc<SourceRuntime>>,
    watch: Option<AwaitedDeliveries>,
}

/// Who sends events. This decides by which keys repeats are recognised, for 24 hours. Events that
/// are pushed with a token have keys of their own, so that a client that may push events cannot
/// make those of a source look like repeats.
#[derive(Debug)]
pub enum EventSender<'a> {
    /// The holder of a token, with the request's `Idempotency-Key` if it has one.
    Token(Option<RequestKey<'a>>),
    /// A source that Waybill reads. Each event is recognised by its id.
    Source,
    /// A source that sends webhooks. Each event has the keys at its position; an event without keys
    /// is always new.
    Webhook(Vec<RepeatKeys>),
}

/// A request's `Idempotency-Key`.
#[derive(Debug, Clone, Copy)]
pub struct RequestKey<'a> {
    pub key: &'a str,
    /// The digest of the key and the whole request.
    pub request: ShortDigest,
}

impl EventSender<'_> {
    /// Returns the keys of the event at this position of its request.
    fn keys(
        &mut self,
        n: usize,
        external_id: Option<&str>,
    ) -> (RepeatKeys, Option<IdempotencyKeys>) {
        let by_id = |word: &str| RepeatKeys {
            own: external_id.map(|id| format!("{word} {id}")).into_iter().collect(),
            earlier: Vec::new(),
        };
        match self {
            Self::Token(key) => {
                let idempotency = key.map(|RequestKey { key, request }| IdempotencyKeys {
                    key: format!("{n} {key}"),
                    request,
                    is_acknowledged: false,
                });
                (by_id("pushed"), idempotency)
            }
            Self::Source => (by_id("id"), None),
            Self::Webhook(keys) => (keys.get_mut(n).map(std::mem::take).unwrap_or_default(), None),
        }
    }
}

/// Stores events, and waits at most `wait` for their deliveries to `immediate` endpoints.
pub async fn accept_events(
    place: CapturePlace<'_>,
    snapshot: &SettingsSnapshot,
    incoming: Vec<IncomingEvent>,
    sender: EventSender<'_>,
    wait: Duration,
) -> Result<Vec<AcceptedEvent>, AcceptError> {
    if incoming.is_empty() {
        return Ok(Vec::new());
    }
    let many = incoming.len() > 1;
    check_sources(snapshot, &incoming, many).map_err(AcceptError::Invalid)?;
    let journal = place.journal;
    let durable = match place.log {
        Some(log) => append_to_log(journal, snapshot, incoming, sender, (log, place.call)).await?,
        None => commit_events(journal, snapshot, incoming, sender).await?,
    };
    let now = journal.clock().now();
    // While the database is away nothing is delivered, so nothing is waited for.
    let is_away = place.log.is_some() && journal.is_away();
    let mut accepted = Vec::with_capacity(durable.len());
    let deadline = Instant::now() + wait;
    for DurableCapture { receipt, runtime, watch } in durable {
        if let Some(runtime) = runtime {
            runtime.health.note_captured(receipt.duplicate, now);
        }
        let immediate = match watch {
            Some(watch) if !receipt.duplicate && is_away => watch.give_up(),
            Some(watch) if !receipt.duplicate => watch.follow(journal, snapshot, deadline).await,
            Some(_) | None => Vec::new(),
        };
        accepted.push(AcceptedEvent { receipt, immediate });
    }
    Ok(accepted)
}

/// Commits events to the database.
async fn commit_events(
    journal: &EventStore,
    snapshot: &SettingsSnapshot,
    incoming: Vec<IncomingEvent>,
    mut sender: EventSender<'_>,
) -> Result<Vec<DurableCapture>, AcceptError> {
    let mut watches = Vec::with_capacity(incoming.len());
    let mut captures = Vec::with_capacity(incoming.len());
    for (n, event) in incoming.into_iter().enumerate() {
        let keys = sender.keys(n, event.id.as_deref());
        let (capture, matches) = capture_event(journal, snapshot, event, keys);
        let ids = capture.deliveries.iter().map(|draft| draft.delivery.id);
        let watch = watch_event(journal, capture.event.id, &matches, ids);
        let runtime = snapshot.find_source_runtime(&capture.event.source).cloned();
        watches.push((runtime, watch));
        captures.push(capture);
    }
    let receipts = journal.capture_events(captures).await.map_err(AcceptError::Journal)?;
    let durable = receipts.into_iter().zip(watches);
    let durable =
        durable.map(|(receipt, (runtime, watch))| DurableCapture { receipt, runtime, watch });
    Ok(durable.collect())
}

/// Appends events to the capture log.
async fn append_to_log(
    journal: &EventStore,
    snapshot: &SettingsSnapshot,
    incoming: Vec<IncomingEvent>,
    mut sender: EventSender<'_>,
    (log, call): (&Arc<CaptureLog>, Option<ApiCall>),
) -> Result<Vec<DurableCapture>, AcceptError> {
    let mut watches = Vec::with_capacity(incoming.len());
    let mut events = Vec::with_capacity(incoming.len());
    let (cells, own_cell) = (log.settings().cells, log.settings().cell);
    for (n, event) in incoming.into_iter().enumerate() {
        let keys = sender.keys(n, event.id.as_deref());
        let (event, watch) = event_to_log(journal, snapshot, event, keys);
        // Another cell's nodes make the deliveries of its events.
        let watch = watch.filter(|_| cell_of(&event.event, cells) == own_cell);
        let runtime = snapshot.find_source_runtime(&event.event.source).cloned();
        watches.push((runtime, watch));
        events.push(event);
    }
    let receipts = append_shares(journal, log, events, call).await?;
    journal.metrics().store.logged.inc_by(receipts.len() as u64);
    let durable = receipts.into_iter().zip(watches);
    let durable =
        durable.map(|(receipt, (runtime, watch))| DurableCapture { receipt, runtime, watch });
    Ok(durable.collect())
}

/// Appends the events of a request to the subjects of their cells. If a part is refused, a sender
/// that repeats the request completes it. The first part carries the row of the audit.
async fn append_shares(
    journal: &EventStore,
    log: &Arc<CaptureLog>,
    events: Vec<EventToLog>,
    mut call: Option<ApiCall>,
) -> Result<Vec<CaptureReceipt>, AcceptError> {
    let refused = |refusal| {
        journal.metrics().store.log_refused.inc();
        AcceptError::Log(refusal)
    };
    let mut answers = Vec::with_capacity(events.len());
    let shares = share_out(events, log.settings().cells, |one| &one.event);
    let mut shares: Vec<_> = shares.into_iter().collect();
    // The share with the first event goes first: it carries the key under which another request is
    // known, and a refusal for its sake must come before anything is captured.
    shares.sort_by_key(|(_, share)| share.first().map(|(place, _)| *place));
    for (cell, share) in shares {
        let (positions, events): (Vec<usize>, Vec<EventToLog>) = share.into_iter().unzip();
        let request = LoggedRequest::of(events, call.take());
        let position = log.append(&request, cell).await.map_err(refused)?;
        let receipts = if position.is_repeat {
            let first = log.find_request(position).await.map_err(refused)?;
            answer_repeat(&request, &first).map_err(AcceptError::Journal)?
        } else {
            let receipt = |event: &LoggedEvent| CaptureReceipt { id: event.id, duplicate: false };
            request.events.iter().map(receipt).collect()
        };
        answers.extend(positions.into_iter().zip(receipts));
    }
    answers.sort_unstable_by_key(|(position, _)| *position);
    Ok(answers.into_iter().map(|(_, receipt)| receipt).collect())
}

/// Returns the receipts of a request that the log has had before as `first`. The log may have had
/// it from this node, whose first try got no answer; then it is no repeat.
fn answer_repeat(
    request: &LoggedRequest,
    first: &LoggedRequest,
) -> Result<Vec<CaptureReceipt>, store::StoreError> {
    if request.request_digest() != first.request_digest() {
        return Err(store::StoreError::KeyReused);
    }
    let receipt = |(event, first): (&LoggedEvent, &LoggedEvent)| CaptureReceipt {
        id: first.id,
        duplicate: first.id != event.id,
    };
    Ok(request.events.iter().zip(&first.events).map(receipt).collect())
}

/// Prepares an event for the log, and a watch of its immediate deliveries.
fn event_to_log(
    journal: &EventStore,
    snapshot: &SettingsSnapshot,
    mut incoming: IncomingEvent,
    (keys, idempotency): (RepeatKeys, Option<IdempotencyKeys>),
) -> (EventToLog, Option<AwaitedDeliveries>) {
    let holds_record = incoming.complete();
    let second_name = incoming.second_name;
    let event = make_event(incoming, journal.clock().now());
    let matches = find_matches(snapshot, &event, second_name);
    // Conditions are evaluated here only if somebody may be waited for.
    let matches = matches.has_immediate().then(|| matches.admit(&event));
    let watch = matches.and_then(|matches| {
        let id = |target: &EndpointRuntime| DeliveryId::of_event(event.id, target.endpoint.id);
        let ids = matches.endpoints.iter().map(|(_, target)| id(target));
        watch_event(journal, event.id, &matches, ids)
    });
    (EventToLog { event, keys, idempotency, second_name, holds_record }, watch)
}

/// Commits requests of the capture log, together with the position of the last one. Returns the
/// number of events that are not repeats, or `None` without writing anything if another node takes
/// from the log now.
pub async fn take_logged_requests(
    journal: &EventStore,
    snapshot: &SettingsSnapshot,
    requests: Vec<LoggedRequest>,
    mut changes: SourceChanges,
) -> Result<Option<u64>, store::StoreError> {
    let mut captures = Vec::new();
    for mut request in requests {
        changes.calls.calls.extend(request.take_call());
        captures.extend(capture_logged(journal, snapshot, request));
    }
    let receipts = journal.capture_from_source(captures, changes).await?;
    let fresh = |receipt: &CaptureReceipt| u64::from(!receipt.duplicate);
    Ok(receipts.map(|receipts| receipts.iter().map(fresh).sum()))
}

/// Fails if the database would refuse a request of the capture log. Writes nothing.
pub async fn test_logged_request(
    journal: &EventStore,
    snapshot: &SettingsSnapshot,
    request: LoggedRequest,
) -> Result<(), store::StoreError> {
    journal.test_captures(capture_logged(journal, snapshot, request)).await
}

/// Makes the captures of a request of the capture log.
fn capture_logged(
    journal: &EventStore,
    snapshot: &SettingsSnapshot,
    request: LoggedRequest,
) -> Vec<EventCapture> {
    let digest = request.request_digest();
    let capture = |mut event: LoggedEvent| {
        let keys = event.take_keys(digest);
        let (second_name, holds_record) = (event.second_name, event.holds_record);
        let event = event.into_event();
        let matches = find_matches(snapshot, &event, second_name);
        let (mut capture, _matches) =
            complete_capture(journal, snapshot, event, (holds_record, matches), keys);
        // The ids that the answer to the request has named.
        for draft in &mut capture.deliveries {
            let endpoint = draft.delivery.endpoint_id;
            draft.delivery.id = DeliveryId::of_event(capture.event.id, endpoint);
        }
        capture
    };
    request.events.into_iter().map(capture).collect()
}

/// Stores the events that a source found, together with the source's own changes. Returns the
/// number of events that are not repeats. Returns `None` without writing anything if another
/// process has taken over the source.
pub async fn take_source_events(
    journal: &EventStore,
    snapshot: &SettingsSnapshot,
    runtime: &SourceRuntime,
    incoming: Vec<IncomingEvent>,
    changes: SourceChanges,
) -> Result<Option<u64>, AcceptError> {
    check_sources(snapshot, &incoming, true).map_err(AcceptError::Invalid)?;
    let of = |event: IncomingEvent| {
        let keys = EventSender::Source.keys(0, event.id.as_deref());
        capture_event(journal, snapshot, event, keys).0
    };
    let captures = incoming.into_iter().map(of).collect();
    let receipts =
        journal.capture_from_source(captures, changes).await.map_err(AcceptError::Journal)?;
    let now = journal.clock().now();
    Ok(receipts.map(|receipts| {
        for receipt in &receipts {
            runtime.health.note_captured(receipt.duplicate, now);
        }
        receipts.iter().map(|receipt| u64::from(!receipt.duplicate)).sum()
    }))
}

/// Stores notices about alerts, together with the findings that they report. Returns `None` without
/// writing anything if another node has the duty.
pub async fn take_notices(
    journal: &EventStore,
    snapshot: &SettingsSnapshot,
    notices: Vec<IncomingEvent>,
    changes: AlertChanges,
) -> Result<Option<Vec<CaptureReceipt>>, store::StoreError> {
    let capture = |notice: IncomingEvent| {
        capture_event(journal, snapshot, notice, (RepeatKeys::default(), None)).0
    };
    let captures = notices.into_iter().map(capture).collect();
    journal.record_alerts(captures, changes).await
}

/// Fails if a source is disabled, if it is strict and the type is not in the catalogue, or if an
/// event uses a name that is kept for Waybill's own notices.
pub fn check_sources(
    snapshot: &SettingsSnapshot,
    incoming: &[IncomingEvent],
    many: bool,
) -> Result<(), Vec<InputFault>> {
    let mut faults = Vec::new();
    for (n, event) in incoming.iter().enumerate() {
        let within = |fault: InputFault| if many { fault.within(&format!("[{n}]")) } else { fault };
        faults.extend(event.check_reserved().into_iter().map(within));
        let name = event.source.as_deref().unwrap_or(DEFAULT_SOURCE);
        let Some(source) = snapshot.find_source(name) else { continue };
        let place = |path: &str, message: String| within(InputFault::new(path, message));
        if !source.settings.enabled {
            faults.push(place("source", format!("source `{name}` is disabled")));
        }
        let catalog = catalog::get();
        if source.settings.strict && catalog.find(&event.event_type).is_none() {
            let hint = catalog.nearest(&event.event_type);
            let hint = hint.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            let message = format!(
                "`{}` is not in the catalogue and source `{name}` is strict{hint}",
                event.event_type
            );
            faults.push(place("type", message));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Makes an event, with a new id, of an incoming event that is complete.
pub fn make_event(incoming: IncomingEvent, received_at: Timestamp) -> Event {
    Event {
        id: EventId::generate_at(received_at),
        source: incoming.source.map_or_else(|| DEFAULT_SOURCE.to_owned(), make_storable),
        event_type: make_storable(incoming.event_type),
        resource: incoming.resource.map(make_storable),
        resource_id: incoming.resource_id.map(make_storable),
        external_id: incoming.id.map(make_storable),
        occurred_at: incoming.occurred_at,
        received_at,
        attributes: incoming.attributes,
        changes: incoming.changes,
        data: incoming.data,
    }
}

/// Makes the capture of an event: who takes it, and what is known of its plan.
pub fn capture_event(
    journal: &EventStore,
    snapshot: &SettingsSnapshot,
    mut incoming: IncomingEvent,
    keys: (RepeatKeys, Option<IdempotencyKeys>),
) -> (EventCapture, Arc<EventMatches>) {
    let holds_record = incoming.complete();
    let second_name = incoming.second_name;
    let event = make_event(incoming, journal.clock().now());
    let matches = find_matches(snapshot, &event, second_name);
    complete_capture(journal, snapshot, event, (holds_record, matches), keys)
}

/// Returns who takes events of this source and type.
fn find_matches(
    snapshot: &SettingsSnapshot,
    event: &Event,
    second_name: bool,
) -> Arc<EventMatches> {
    if second_name {
        snapshot.matches_by_name(&event.source, &event.event_type)
    } else {
        snapshot.matches(&event.source, &event.event_type)
    }
}

/// Makes the capture of an event that has its id.
fn complete_capture(
    journal: &EventStore,
    snapshot: &SettingsSnapshot,
    event: Event,
    (holds_record, matches): (bool, Arc<EventMatches>),
    (keys, idempotency): (RepeatKeys, Option<IdempotencyKeys>),
) -> (EventCapture, Arc<EventMatches>) {
    let event = Arc::new(event);
    let known = catalog::get().find(&event.event_type);
    let own = known.filter(|known| event.resource.as_deref() == Some(known.resource));
    // Events about a CRM's small tables have the resource `utility`. It is not a resource whose
    // records are kept.
    let record = own.filter(|known| known.resource != "utility");
    let record = record.and_then(|_| RecordChange::of(&event, holds_record));
    let resource = record.and(event.resource.as_deref());
    let indexed = snapshot.indexed.find_values(resource, &event.data);
    let matches = matches.admit(&event);
    let deliveries = matches.drafts(journal, &event);
    let plannings = matches.plannings(journal, &event);
    journal.metrics().store.suppressed.inc_by(matches.skipped.len() as u64);
    let capture = EventCapture {
        matched: matches.len(),
        event,
        keys: keys.own,
        earlier_keys: keys.earlier,
        idempotency,
        deliveries,
        plannings,
        skipped: matches.skipped.clone(),
        record,
        indexed,
        packed: None,
    };
    (capture, matches)
}

/// The deliveries that a caller waits for.
struct AwaitedDeliveries {
    watch: EventWatch,
    deliveries: BTreeMap<DeliveryId, AwaitedDelivery>,
    /// The number of flows that were not planned yet.
    plans: usize,
}

fn is_immediate(mode: DeliveryMode) -> bool {
    mode == DeliveryMode::Immediate
}

/// Watches an event if a caller waits for one of its deliveries. `ids` are those of the deliveries
/// to the endpoints of `matches`, in that order.
fn watch_event(
    journal: &EventStore,
    event: EventId,
    matches: &EventMatches,
    ids: impl Iterator<Item = DeliveryId>,
) -> Option<AwaitedDeliveries> {
    let immediate = |t: &EndpointRuntime| is_immediate(t.endpoint.settings.mode);
    let plans = matches.flows.iter().filter(|r| r.endpoints.iter().any(|t| immediate(t))).count();
    let deliveries: BTreeMap<_, _> = matches
        .endpoints
        .iter()
        .zip(ids)
        .filter(|((_, target), _)| immediate(target))
        .map(|((_, target), id)| (id, AwaitedDelivery::waiting(id, target.endpoint.id)))
        .collect();
    if plans == 0 && deliveries.is_empty() {
        return None;
    }
    let plans = if plans == 0 { 0 } else { matches.flows.len() };
    Some(AwaitedDeliveries { watch: journal.watchers().watch_event(event), deliveries, plans })
}

impl AwaitedDelivery {
    const fn waiting(id: DeliveryId, endpoint: EndpointId) -> Self {
        Self {
            id,
            endpoint,
            status: DeliveryStatus::Pending,
            response_status: None,
            duration: None,
        }
    }
}

impl AwaitedDeliveries {
    /// Returns the deliveries as pending, without a wait.
    fn give_up(self) -> Vec<AwaitedDelivery> {
        self.deliveries.into_values().collect()
    }

    /// Waits for the first attempts. Attempts without a notice, such as those of another node while
    /// notices were lost, are looked up at the end.
    async fn follow(
        mut self,
        journal: &EventStore,
        snapshot: &SettingsSnapshot,
        deadline: Instant,
    ) -> Vec<AwaitedDelivery> {
        while self.is_waiting() {
            match timeout_at(deadline, self.watch.notices.recv()).await {
                Ok(Some(EventNotice::Planned { deliveries })) => {
                    self.note_plan(snapshot, deliveries);
                }
                Ok(Some(EventNotice::Attempted {
                    delivery,
                    status,
                    response_status,
                    duration,
                })) => {
                    if let Some(known) = self.deliveries.get_mut(&delivery) {
                        known.status = status;
                        known.response_status = response_status;
                        known.duration = Some(duration);
                    }
                }
                Ok(Some(EventNotice::Interrupted)) => {
                    self.look_up(journal, snapshot, deadline).await;
                }
                Ok(None) | Err(_) => {
                    self.look_up(journal, snapshot, deadline).await;
                    break;
                }
            }
        }
        self.deliveries.into_values().collect()
    }

    fn is_waiting(&self) -> bool {
        self.plans > 0 || self.deliveries.values().any(|awaited| awaited.duration.is_none())
    }

    fn note_plan(
        &mut self,
        snapshot: &SettingsSnapshot,
        deliveries: Vec<(DeliveryId, EndpointId)>,
    ) {
        self.plans = self.plans.saturating_sub(1);
        for (id, endpoint) in deliveries {
            if is_immediate_at(snapshot, endpoint) {
                self.deliveries.entry(id).or_insert(AwaitedDelivery::waiting(id, endpoint));
            }
        }
    }

    /// Looks up the state of the deliveries in the database.
    async fn look_up(
        &mut self,
        journal: &EventStore,
        snapshot: &SettingsSnapshot,
        deadline: Instant,
    ) {
        let looking = journal.list_progress_of_event(self.watch.event);
        // If the database does not answer in time, the deliveries stay pending in the answer.
        if let Ok(Ok(found)) = timeout_at(deadline + LONGEST_LOOK, looking).await {
            for progress in found {
                self.note_progress(snapshot, progress);
            }
        }
    }

    fn note_progress(&mut self, snapshot: &SettingsSnapshot, progress: DeliveryProgress) {
        let DeliveryProgress { id, endpoint_id, status, response_status, duration } = progress;
        if !self.deliveries.contains_key(&id) && !is_immediate_at(snapshot, endpoint_id) {
            return;
        }
        let awaited =
            self.deliveries.entry(id).or_insert(AwaitedDelivery::waiting(id, endpoint_id));
        if awaited.duration.is_none() {
            let is_leased = status == DeliveryStatus::Leased;
            awaited.status = if is_leased { DeliveryStatus::Pending } else { status };
            awaited.response_status = response_status;
            awaited.duration = duration;
        }
    }
}

fn is_immediate_at(snapshot: &SettingsSnapshot, endpoint: EndpointId) -> bool {
    let target = snapshot.find_endpoint(endpoint);
    target.is_some_and(|target| is_immediate(target.endpoint.settings.mode))
}
