use super::*;
use crate::model::record::RecordOrder;
use crate::store::{EventFilter, PageStart, RecordFilter};

#[tokio::test]
async fn a_captured_event_is_read_back_as_it_was() {
    for TestStore { store, url, .. } in stores().await {
        let given = Event {
            external_id: Some("x-1".to_owned()),
            occurred_at: Some(Timestamp::from_micros(1_700_000_000_000_000)),
            attributes: Some(RawValue::from_string(r#"{"a":"b"}"#.to_owned()).unwrap()),
            changes: Some(RawValue::from_string("{\"changed\":[]}".to_owned()).unwrap()),
            ..event("17", "{\"total\":1.00, \"name\":\"Ünï\"}")
        };
        store.capture_events(vec![capture(given.clone())]).await.unwrap();
        let stored = store.find_event(given.id).await.unwrap().unwrap();
        assert_eq!(format!("{:?}", stored.event), format!("{given:?}"), "{url}");
        assert_eq!((stored.matched, stored.pruned), (0, None), "{url}");
        assert!(store.find_event(EventId::generate()).await.unwrap().is_none(), "{url}");
    }
}

#[tokio::test]
async fn a_repeat_is_told_the_id_of_the_first_and_stored_once() {
    for TestStore { store, url, .. } in stores().await {
        let with_key = || EventCapture { keys: vec!["id 1".to_owned()], ..invoice("17") };
        let first = store.capture_events(vec![with_key(), invoice("18")]).await.unwrap();
        let again = store.capture_events(vec![with_key(), with_key()]).await.unwrap();
        let repeat = CaptureReceipt { id: first[0].id, duplicate: true };
        assert_eq!(again, [repeat, repeat], "{url}");
        let page = store.list_events(&EventFilter::default(), None, 10).await.unwrap();
        assert_eq!(page.rows.len(), 2, "{url}");
    }
}

#[tokio::test]
async fn a_key_of_another_source_is_another_key() {
    for TestStore { store, url, .. } in stores().await {
        let mut other = event("17", WHOLE_INVOICE);
        other.source = "shop".to_owned();
        let keys = || vec!["id 1".to_owned()];
        let both = vec![
            EventCapture { keys: keys(), ..invoice("17") },
            EventCapture { keys: keys(), ..capture(other) },
        ];
        let receipts = store.capture_events(both).await.unwrap();
        assert!(receipts.iter().all(|receipt| !receipt.duplicate), "{url}");
    }
}

#[tokio::test]
async fn an_idempotency_key_with_another_request_is_refused_whole() {
    for TestStore { store, url, .. } in stores().await {
        let request = |body: &str, place: usize| EventCapture {
            idempotency: Some(IdempotencyKeys {
                key: format!("k {place}"),
                request: ShortDigest::of([body]),
                is_acknowledged: false,
            }),
            ..invoice("17")
        };
        let first = store.capture_events(vec![request("a", 0), request("a", 1)]).await.unwrap();
        let again = store.capture_events(vec![request("a", 0), request("a", 1)]).await.unwrap();
        assert_eq!(again[1].id, first[1].id, "{url}");
        let other = store.capture_events(vec![request("b", 0), request("b", 1)]).await;
        assert!(matches!(other, Err(StoreError::KeyReused)), "{url}: {other:?}");
        let page = store.list_events(&EventFilter::default(), None, 10).await.unwrap();
        assert_eq!(page.rows.len(), 2, "{url}");
    }
}

#[tokio::test]
async fn an_acknowledged_request_is_captured_without_a_key_that_another_request_used() {
    for TestStore { store, url, .. } in stores().await {
        let request = |body: &str| EventCapture {
            idempotency: Some(IdempotencyKeys {
                key: "k 0".to_owned(),
                request: ShortDigest::of([body]),
                is_acknowledged: true,
            }),
            ..invoice("17")
        };
        let first = store.capture_events(vec![request("a")]).await.unwrap();
        let other = store.capture_events(vec![request("b")]).await.unwrap();
        assert!(!other[0].duplicate && other[0].id != first[0].id, "{url}");
        let again = store.capture_events(vec![request("a")]).await.unwrap();
        assert_eq!(again[0].id, first[0].id, "{url}: the key stays with the first request");
    }
}

#[tokio::test]
async fn one_refused_event_costs_no_other() {
    for TestStore { store, url, .. } in stores().await {
        let fine = store.capture_events(vec![invoice("17")]);
        // An event that exists already: the database refuses its id.
        let known = invoice("18");
        let event = Arc::clone(&known.event);
        store.capture_events(vec![known]).await.unwrap();
        let twice = EventCapture { event, ..invoice("18") };
        let refused = store.capture_events(vec![twice, invoice("19")]);
        let (fine, refused) = tokio::join!(fine, refused);
        assert!(fine.is_ok(), "{url}: {fine:?}");
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{url}: {refused:?}");
        let page = store.list_events(&EventFilter::default(), None, 10).await.unwrap();
        assert_eq!(page.rows.len(), 2, "{url}: a request is written whole or not at all");
    }
}

#[tokio::test]
async fn a_record_is_listed_with_its_latest_state_until_it_is_deleted() {
    for TestStore { store, url, .. } in stores().await {
        let filter = RecordFilter { resource: "invoice".to_owned(), ..RecordFilter::default() };
        store.capture_events(vec![invoice("17"), invoice("18")]).await.unwrap();
        let paid = r#"{"id": "17", "number": "INV-17", "total": "12.00"}"#;
        store.capture_events(vec![capture(event("17", paid))]).await.unwrap();
        let list = |order| store.list_records(&filter, order, PageStart::Offset(0), 10);
        let ids = |piece: crate::store::query::records::RecordPiece| {
            piece.rows.into_iter().map(|row| row.resource_id).collect::<Vec<_>>()
        };
        assert_eq!(ids(list(RecordOrder::Id).await.unwrap()), ["17", "18"], "{url}");
        assert_eq!(ids(list(RecordOrder::Newest).await.unwrap()), ["17", "18"], "{url}");
        assert_eq!(ids(list(RecordOrder::Oldest).await.unwrap()), ["18", "17"], "{url}");
        let found = store.find_records(&filter, "17", 1).await.unwrap();
        assert_eq!(found[0].data.get(), paid, "{url}");
        let deleted = Event { event_type: "invoice.deleted".to_owned(), ..event("17", "{}") };
        store.capture_events(vec![capture(deleted)]).await.unwrap();
        assert_eq!(ids(list(RecordOrder::Id).await.unwrap()), ["18"], "{url}");
        assert_eq!(store.count_records(&filter, 100).await.unwrap(), 1, "{url}");
        let since = Timestamp::from_micros(0);
        assert_eq!(store.count_deleted_records(&filter, since, 100).await.unwrap(), 1, "{url}");
    }
}
