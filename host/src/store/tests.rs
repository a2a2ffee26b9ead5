//! Tests of the store's promises on both databases, below the tests of the whole program.

mod alerting;
mod capturing;
mod changing;
mod clocks;
mod delivering;
mod effects;
mod failing;
mod faults;
mod parking;
mod planning;
mod reading;
mod sharing;
mod telling;
mod transacting;

use super::db::pool::tests::postgres_url;
use super::{
    CaptureReceipt, DeliveryDraft, EventCapture, EventStore, IdempotencyKeys, StoreError,
    StoreOpening,
};
use crate::crypto::digest::ShortDigest;
use crate::model::delivery::{NewDelivery, WorkLease};
use crate::model::event::Event;
use crate::model::id::{DeliveryId, EndpointId, EventId};
use crate::model::record::RecordChange;
use crate::time::clock::Clock;
use crate::time::timestamp::Timestamp;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A store on a fresh database.
struct TestStore {
    store: EventStore,
    url: String,
    /// Keeps the file of an SQLite database.
    _folder: TempDir,
}

/// Returns a store on each available database.
async fn stores() -> Vec<TestStore> {
    let mut stores = Vec::new();
    let folder = TempDir::new().unwrap();
    let sqlite = format!("sqlite:{}", folder.path().join("w.db").display());
    stores.push(TestStore { store: open(&sqlite).await, url: sqlite, _folder: folder });
    if let Some(url) = postgres_url().await {
        let folder = TempDir::new().unwrap();
        stores.push(TestStore { store: open(&url).await, url, _folder: folder });
    }
    stores
}

async fn open(url: &str) -> EventStore {
    let opened = EventStore::open(url, Clock::System, StoreOpening::default()).await;
    opened.unwrap().0
}

fn event(id: &str, data: &str) -> Event {
    Event {
        id: EventId::generate(),
        source: "crm".to_owned(),
        event_type: "invoice.paid".to_owned(),
        resource: Some("invoice".to_owned()),
        resource_id: Some(id.to_owned()),
        external_id: None,
        occurred_at: None,
        received_at: Clock::System.now(),
        attributes: None,
        changes: None,
        data: RawValue::from_string(data.to_owned()).unwrap(),
    }
}

fn capture(event: Event) -> EventCapture {
    let record = RecordChange::of(&event, true);
    EventCapture {
        event: Arc::new(event),
        keys: Vec::new(),
        earlier_keys: Vec::new(),
        idempotency: None,
        deliveries: Vec::new(),
        plannings: Vec::new(),
        matched: 0,
        skipped: Vec::new(),
        indexed: Vec::new(),
        packed: None,
        record,
    }
}

const WHOLE_INVOICE: &str = r#"{"id": "17", "number": "INV-17", "total": "9.90"}"#;

fn invoice(id: &str) -> EventCapture {
    capture(event(id, WHOLE_INVOICE))
}

fn delivery(event: &Event, endpoint: EndpointId) -> NewDelivery {
    NewDelivery {
        id: DeliveryId::generate(),
        event_id: event.id,
        endpoint_id: endpoint,
        flow_id: None,
        event_type: event.event_type.clone(),
        due_at: event.received_at,
        order_key: None,
        collapse: None,
        dedupe: None,
        cancel_key: None,
        message: None,
        lease: None,
    }
}

/// Returns a lease for a row that is inserted leased.
fn lease(store: &EventStore) -> WorkLease {
    let until = store.clock().now().after(Duration::from_mins(1));
    WorkLease { token: store.next_lease_token(), until }
}

/// Captures an invoice with one delivery, which is leased if a lease is given.
async fn capture_delivery(
    store: &EventStore,
    endpoint: EndpointId,
    lease: Option<WorkLease>,
) -> NewDelivery {
    let mut captured = invoice("17");
    let made = NewDelivery { lease, ..delivery(&captured.event, endpoint) };
    captured.deliveries.push(DeliveryDraft { delivery: made.clone(), slot: None });
    store.capture_events(vec![captured]).await.unwrap();
    made
}
