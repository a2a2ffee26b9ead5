use super::*;
use crate::model::bad_row::{BadRow, BadRowReason};
use crate::model::delivery::DeliveryStatus;
use crate::model::id::SourceId;
use crate::store::erase::{KeptPlace, RecordName, RecordTraces};
use crate::store::{EventFilter, SourceChanges};

#[tokio::test]
async fn pages_of_events_go_on_where_the_last_one_ended() {
    for TestStore { store, url, .. } in stores().await {
        let captured = (0..5).map(|n| invoice(&n.to_string())).collect();
        let receipts = store.capture_events(captured).await.unwrap();
        let (mut before, mut read) = (None, Vec::new());
        loop {
            let page = store.list_events(&EventFilter::default(), before, 2).await.unwrap();
            read.extend(page.rows.into_iter().map(|row| row.event.id));
            match page.next {
                Some(next) => before = Some(next),
                None => break,
            }
        }
        let newest_first: Vec<EventId> = receipts.iter().rev().map(|receipt| receipt.id).collect();
        assert_eq!(read, newest_first, "{url}");
    }
}

#[tokio::test]
async fn a_page_ends_where_its_payloads_are_large() {
    for TestStore { store, url, .. } in stores().await {
        let large = format!("{{\"id\":\"1\",\"text\":\"{}\"}}", "x".repeat(3 << 20));
        for _ in 0..3 {
            store.capture_events(vec![capture(event("1", &large))]).await.unwrap();
        }
        let page = store.list_events(&EventFilter::default(), None, 50).await.unwrap();
        assert_eq!(page.rows.len(), 1, "{url}: at most 4 MiB");
        assert!(page.next.is_some(), "{url}");
    }
}

#[tokio::test]
async fn a_filter_leaves_out_the_other_events() {
    for TestStore { store, url, .. } in stores().await {
        let other = Event { event_type: "lead.created".to_owned(), ..event("3", "{}") };
        store.capture_events(vec![invoice("17"), capture(other), invoice("18")]).await.unwrap();
        let count = async |filter: EventFilter| {
            store.list_events(&filter, None, 10).await.unwrap().rows.len()
        };
        let of_type =
            EventFilter { event_type: Some("lead.created".to_owned()), ..Default::default() };
        assert_eq!(count(of_type).await, 1, "{url}");
        let of_record = EventFilter {
            resource: Some("invoice".to_owned()),
            resource_id: Some("18".to_owned()),
            ..Default::default()
        };
        assert_eq!(count(of_record).await, 1, "{url}");
        let later = store.clock().now().after(Duration::from_mins(1));
        let of_later = EventFilter { since: Some(later), ..Default::default() };
        assert_eq!(count(of_later).await, 0, "{url}");
    }
}

#[tokio::test]
async fn an_erased_record_is_in_no_table() {
    for TestStore { store, url, .. } in stores().await {
        let made = capture_delivery(&store, EndpointId::generate(), None).await;
        let name = RecordName {
            resource: "invoice".to_owned(),
            resource_id: "17".to_owned(),
            source: None,
        };
        let traces = store.find_traces(&name).await.unwrap();
        assert_eq!(traces.events, [made.event_id], "{url}");
        let places: [KeptPlace; 0] = [];
        let erased = store.erase_record(&name, &traces, &places).await.unwrap().unwrap();
        assert_eq!((erased.records, erased.events, erased.deliveries), (1, 1, 1), "{url}");
        assert!(store.find_event(made.event_id).await.unwrap().is_none(), "{url}");
        assert!(store.find_delivery(made.id).await.unwrap().is_none(), "{url}");
    }
}

#[tokio::test]
async fn what_is_being_sent_is_not_erased() {
    for TestStore { store, url, .. } in stores().await {
        let lease = Some(lease(&store));
        let made = capture_delivery(&store, EndpointId::generate(), lease).await;
        let name = RecordName {
            resource: "invoice".to_owned(),
            resource_id: "17".to_owned(),
            source: None,
        };
        let traces = store.find_traces(&name).await.unwrap();
        assert_eq!(store.count_being_sent(&traces.events).await.unwrap(), 1, "{url}");
        assert!(store.erase_record(&name, &traces, &[]).await.unwrap().is_none(), "{url}");
        assert!(store.find_event(made.event_id).await.unwrap().is_some(), "{url}");
    }
}

/// The operator may leave it at the refusal. The waiting deliveries must then be sent.
#[tokio::test]
async fn an_erasing_that_is_refused_calls_no_delivery_off() {
    for TestStore { store, url, .. } in stores().await {
        let mut captured = invoice("17");
        let leased = Some(lease(&store));
        let sent =
            NewDelivery { lease: leased, ..delivery(&captured.event, EndpointId::generate()) };
        let waiting = delivery(&captured.event, EndpointId::generate());
        let drafts = [sent, waiting.clone()].map(|delivery| DeliveryDraft { delivery, slot: None });
        captured.deliveries.extend(drafts);
        let name = RecordName {
            resource: "invoice".to_owned(),
            resource_id: "17".to_owned(),
            source: None,
        };
        store.capture_events(vec![captured]).await.unwrap();
        let traces = store.find_traces(&name).await.unwrap();
        assert!(store.erase_record(&name, &traces, &[]).await.unwrap().is_none(), "{url}");
        let found = store.find_delivery(waiting.id).await.unwrap().unwrap();
        assert_eq!(found.status, DeliveryStatus::Pending, "{url}");
    }
}

#[tokio::test]
async fn a_row_that_was_set_aside_is_erased_under_the_name_that_operators_know() {
    for TestStore { store, url, .. } in stores().await {
        let (source, began) = (SourceId::generate(), store.clock().now());
        assert!(store.lease_source(source, began, None).await.unwrap(), "{url}");
        let mut changes = SourceChanges::of(source, began, "own orders\u{1f}id");
        changes.aside.list = "orders".to_owned();
        changes.aside.bad = vec![BadRow::new("17", BadRowReason::Invalid, "it says Jane Roe")];
        store.capture_from_source(Vec::new(), changes).await.unwrap().unwrap();
        let place = KeptPlace {
            source,
            list: "own orders\u{1f}".to_owned(),
            is_whole: false,
            shown_list: "orders".to_owned(),
            key: 17,
            instead: "17".to_owned(),
        };
        assert!(store.keeps_row(&place, "17").await.unwrap(), "{url}");
        let name = RecordName {
            resource: "orders".to_owned(),
            resource_id: "17".to_owned(),
            source: None,
        };
        let traces = RecordTraces::default();
        let erased = store
            .erase_record(&name, &traces, std::slice::from_ref(&place))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(erased.dead_letters, 1, "{url}");
        assert!(!store.keeps_row(&place, "17").await.unwrap(), "{url}");
    }
}

#[tokio::test]
async fn the_lists_that_a_source_keeps_are_found() {
    for TestStore { store, url, .. } in stores().await {
        let (source, began) = (SourceId::generate(), store.clock().now());
        assert!(store.lease_source(source, began, None).await.unwrap(), "{url}");
        for list in ["customers", "invoices"] {
            let mut changes = SourceChanges::of(source, began, list);
            changes.put = (1..4).map(changing::kept).collect();
            store.capture_from_source(Vec::new(), changes).await.unwrap().unwrap();
        }
        let lists = store.list_kept_lists(source).await.unwrap();
        assert_eq!(lists, ["customers", "invoices"], "{url}");
        assert!(store.list_kept_lists(SourceId::generate()).await.unwrap().is_empty(), "{url}");
    }
}
