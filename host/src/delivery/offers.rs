//! Offers the deliveries of an endpoint of kind `pull` to consumers, and settles what they commit.
//!
//! An offer is an attempt. A consumer that commits it makes it a success. A delivery that the
//! consumer returns, or whose lease ends first, has failed, and is offered again on the schedule of
//! its endpoint until it is a dead letter.

use super::attempt::{
    DeliveryParcel, MadeExchange, SignedMessage, finish_attempt, sign_message, unsendable,
};
use super::exchange_record::add_note;
use super::judge::{AttemptAnswer, RetryRound};
use crate::channels::ChannelOutcome;
use crate::json::storable::make_storable;
use crate::model::delivery::{AttemptOutcome, WorkLease};
use crate::model::endpoint::DeliveryMode;
use crate::model::id::DeliveryId;
use crate::net::error_class::ErrorClass;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::store::prefetch::LeasedDelivery;
use crate::store::{EventStore, OfferedDelivery, SettledAttempt, StoreError};
use crate::time::timestamp::Timestamp;
use bytes::Bytes;
use http::HeaderMap;
use std::collections::BTreeMap;
use std::time::Duration;

/// The member of a recorded attempt that says what kind of attempt it was.
const OFFER_NOTE: &str = "(offer)";
/// Most bytes of a consumer's reason that are recorded.
const MAX_REASON: usize = 2 * 1024;

/// What a consumer asks for.
#[derive(Debug, Clone, Copy)]
pub struct OfferTerms {
    /// Most deliveries.
    pub most: usize,
    /// How long the consumer may work on them.
    pub hold: Duration,
}

/// Deliveries that a consumer has fetched, under one lease.
#[derive(Debug)]
pub struct DeliveryOffer {
    /// `None` if there are no deliveries.
    pub lease: Option<WorkLease>,
    pub messages: Vec<OfferedMessage>,
}

/// A delivery as its consumer gets it: what a webhook would carry.
#[derive(Debug)]
pub struct OfferedMessage {
    pub id: DeliveryId,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// How many deliveries of an offer were settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfferReceipt {
    pub committed: usize,
    pub returned: usize,
}

/// Leases due deliveries to a consumer. Those whose last offer ended without a commit are judged
/// first.
pub async fn offer_deliveries(
    journal: &EventStore,
    target: &EndpointRuntime,
    terms: OfferTerms,
) -> Result<DeliveryOffer, StoreError> {
    // One moment decides both, so that no offer ends in between and is repeated without being
    // judged.
    let now = journal.clock().now();
    settle_expired(journal, target, now).await?;
    let (ordered, time) = (target.endpoint.settings.ordered, (now, terms.hold));
    let leased = journal.offer_deliveries(&target.lane, ordered, time, terms.most).await?;
    let lease = leased.first().map(|one| one.lease);
    let (mut messages, mut unsendable) = (Vec::new(), Vec::new());
    for delivery in leased {
        match sign_offered(journal, target, &delivery) {
            Ok(message) => messages.push(message),
            Err(failed) => unsendable.push((offered(&delivery), Some(failed))),
        }
    }
    let has_unsendable = !unsendable.is_empty();
    for (delivery, failed) in unsendable {
        let at = journal.clock().now();
        settle_offer(journal, target, delivery, OfferEnd { begun: at, ended: at, failed }).await?;
    }
    if has_unsendable {
        // Otherwise the commit of the page could find them, and make them delivered.
        journal.flush_writes().await;
    }
    Ok(DeliveryOffer { lease, messages })
}

/// Settles the deliveries of an offer: those in `returned` failed, for the reason that the consumer
/// gives, and all others are delivered. Returns when that is durable. Deliveries that the consumer
/// does not hold any more are left alone.
pub async fn commit_offer(
    journal: &EventStore,
    target: &EndpointRuntime,
    (lease, hold): (WorkLease, Duration),
    returned: &BTreeMap<DeliveryId, String>,
) -> Result<OfferReceipt, StoreError> {
    let ended = journal.clock().now();
    let begun = lease.until.before(hold).min(ended);
    let mut receipt = OfferReceipt { committed: 0, returned: 0 };
    for delivery in journal.list_offered(target.endpoint.id, lease).await? {
        let failed = returned.get(&delivery.id).map(|reason| returned_failure(reason));
        match &failed {
            Some(_) => receipt.returned += 1,
            None => receipt.committed += 1,
        }
        settle_offer(journal, target, delivery, OfferEnd { begun, ended, failed }).await?;
    }
    journal.flush_writes().await;
    Ok(receipt)
}

/// Judges the offers whose leases ended without a commit.
async fn settle_expired(
    journal: &EventStore,
    target: &EndpointRuntime,
    now: Timestamp,
) -> Result<(), StoreError> {
    let expired = journal.list_expired_offers(target.endpoint.id, now).await?;
    if expired.is_empty() {
        return Ok(());
    }
    for delivery in expired {
        let ended = delivery.lease.until;
        let detail = format!("the consumer did not commit it until {ended}");
        let failed = Some(OfferFailure { class: ErrorClass::Timeout, detail });
        settle_offer(journal, target, delivery, OfferEnd { begun: ended, ended, failed }).await?;
    }
    // Otherwise the claim that follows could offer them again before they are judged.
    journal.flush_writes().await;
    Ok(())
}

/// Why an offer failed.
#[derive(Debug)]
struct OfferFailure {
    class: ErrorClass,
    detail: String,
}

/// How an offer ended.
#[derive(Debug)]
struct OfferEnd {
    begun: Timestamp,
    ended: Timestamp,
    /// `None` if the consumer committed it.
    failed: Option<OfferFailure>,
}

fn returned_failure(reason: &str) -> OfferFailure {
    let mut reason = make_storable(reason.to_owned());
    reason.truncate(reason.floor_char_boundary(MAX_REASON));
    let detail = if reason.is_empty() { "the consumer returned it".to_owned() } else { reason };
    OfferFailure { class: ErrorClass::Deferred, detail }
}

fn offered(delivery: &LeasedDelivery) -> OfferedDelivery {
    let message_type = delivery.message.as_ref().and_then(|message| message.event_type.clone());
    OfferedDelivery {
        id: delivery.id,
        event: delivery.event.id,
        event_type: message_type.unwrap_or_else(|| delivery.event.event_type.clone()),
        attempts: delivery.attempts,
        round_from: delivery.round_from,
        held_since: delivery.held_since,
        lease: delivery.lease,
    }
}

fn sign_offered(
    journal: &EventStore,
    target: &EndpointRuntime,
    delivery: &LeasedDelivery,
) -> Result<OfferedMessage, OfferFailure> {
    let parcel = DeliveryParcel {
        id: delivery.id,
        event: &delivery.event,
        message: delivery.message.as_deref(),
        collapsed: delivery.collapsed,
        number: delivery.attempts + 1,
        signed_at: journal.clock().wall(),
        permit: None,
        may_be_repeat: delivery.attempts > 0,
        span: None,
    };
    match sign_message(target, parcel) {
        Ok(SignedMessage { headers, request }) => {
            Ok(OfferedMessage { id: delivery.id, headers, body: Bytes::from(request.body.body) })
        }
        Err(why) => {
            let error = unsendable(&why);
            Err(OfferFailure { class: error.class, detail: make_storable(error.detail) })
        }
    }
}

/// Records an offer as an attempt, with its consequences.
async fn settle_offer(
    journal: &EventStore,
    target: &EndpointRuntime,
    delivery: OfferedDelivery,
    end: OfferEnd,
) -> Result<(), StoreError> {
    let number = delivery.attempts + 1;
    let attempts = (number - delivery.round_from).unsigned_abs();
    let round = RetryRound { attempts, held_since: delivery.held_since };
    let until = format!("leased to a consumer until {}", delivery.lease.until);
    let answer = match &end.failed {
        None => AttemptAnswer::Channel(ChannelOutcome::Delivered),
        Some(failure) => AttemptAnswer::Failed(failure.class),
    };
    let made = MadeExchange {
        answer,
        duration: end.ended.since(end.begun),
        status: None,
        error: end.failed.map(|failure| failure.detail),
        request_headers: add_note("{}".to_owned(), OFFER_NOTE, &until),
        response_headers: None,
        response_body: None,
    };
    let made = finish_attempt(target, number, round, end.begun, rand::random(), made);
    let outcome = made.judgement.outcome;
    target.figures.note_attempt(made.judgement.error_class, made.attempt.duration);
    if let AttemptOutcome::Dead { .. } = outcome {
        target.figures.note_death();
    }
    let settings = &target.endpoint.settings;
    journal
        .record_attempt(SettledAttempt {
            delivery: delivery.id,
            event: delivery.event,
            event_type: delivery.event_type,
            endpoint: target.endpoint.id,
            ordered: settings.ordered,
            immediate: settings.mode == DeliveryMode::Immediate,
            round_from: delivery.round_from,
            held_since: delivery.held_since,
            lease: delivery.lease,
            _slot: None,
            attempt: made.attempt,
            packed: None,
            outcome,
            answers: Vec::new(),
        })
        .await
}
