use super::*;
use crate::model::case_report::CasesReport;
use crate::model::id::{SourceId, TokenId};
use crate::model::module_trial::{CanaryLimits, ModuleTrial, TrialCount, TrialCounts, TrialMode};
use crate::model::source_run::RunReport;
use crate::store::modules::NewModule;
use crate::store::objects::{ObjectChange, ObjectKind};
use crate::store::{KeptRow, KeyRange, RowHead, SourceChanges};
use std::collections::BTreeSet;
use uuid::Uuid;

fn put(id: Uuid, name: &str) -> ObjectChange {
    ObjectChange::Put {
        kind: ObjectKind::Flow,
        id,
        name: name.to_owned(),
        body: format!("{{\"name\":\"{name}\"}}"),
        sealed: Some(vec![1, 2, 3]),
        created_at: Timestamp::from_micros(5),
        replaces: None,
    }
}

async fn only_flow(store: &EventStore) -> crate::store::objects::StoredObject<serde_json::Value> {
    store.list_objects(ObjectKind::Flow).await.unwrap().remove(0)
}

#[tokio::test]
async fn a_change_of_another_state_than_the_present_one_is_refused() {
    for TestStore { store, url, .. } in stores().await {
        let id = Uuid::now_v7();
        store.change_objects(&[put(id, "a")]).await.unwrap();
        let first = only_flow(&store).await.updated_at;
        store.change_objects(&[put(id, "b").replacing(Some(first))]).await.unwrap();
        let late = store.change_objects(&[put(id, "c").replacing(Some(first))]).await;
        assert!(matches!(late, Err(StoreError::ChangedMeanwhile(_))), "{url}: {late:?}");
        let second = only_flow(&store).await;
        assert!(second.settings["name"] == "b" && second.updated_at > first, "{url}");
        let delete = ObjectChange::Delete { kind: ObjectKind::Flow, id };
        store.change_objects(&[delete]).await.unwrap();
        let gone = store.change_objects(&[put(id, "d").replacing(Some(second.updated_at))]).await;
        assert!(matches!(gone, Err(StoreError::ChangedMeanwhile(_))), "{url}: {gone:?}");
        assert!(
            store.list_objects::<serde_json::Value>(ObjectKind::Flow).await.unwrap().is_empty()
        );
    }
}

#[tokio::test]
async fn changes_are_made_together_or_not_at_all() {
    for TestStore { store, url, .. } in stores().await {
        let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
        store.change_objects(&[put(first, "a")]).await.unwrap();
        let version = store.read_settings_version().await.unwrap();
        let taken = store.change_objects(&[put(first, "b"), put(second, "b")]).await;
        assert!(matches!(&taken, Err(StoreError::NameTaken(name)) if name == "b"), "{url}");
        let missing =
            ObjectChange::ActivateModule { name: "m".to_owned(), version: 7, approved: None };
        let missing = store.change_objects(&[put(second, "c"), missing]).await;
        assert!(matches!(missing, Err(StoreError::Missing(_))), "{url}: {missing:?}");
        let flows = store.list_objects::<serde_json::Value>(ObjectKind::Flow).await.unwrap();
        assert_eq!(flows.len(), 1, "{url}");
        assert_eq!((flows[0].id, &flows[0].settings["name"]), (first, &"a".into()), "{url}");
        assert_eq!(flows[0].sealed.as_deref(), Some(&[1, 2, 3][..]), "{url}");
        assert_eq!(store.read_settings_version().await.unwrap(), version, "{url}");
    }
}

#[tokio::test]
async fn a_module_has_one_trial_with_counts_until_the_next_activation() {
    for TestStore { store, url, .. } in stores().await {
        for n in 0..3 {
            let module = NewModule {
                approved: &BTreeSet::new(),
                name: "m",
                version: None,
                sha256: [n; 32],
                wasm: b"\0asm",
                report: "{}",
                activate: n == 0,
                cases: None,
            };
            store.add_module(module).await.unwrap();
        }
        let trial = |run| ModuleTrial {
            mode: TrialMode::Canary,
            run,
            share: 10,
            limits: CanaryLimits::default(),
            ended: None,
        };
        let set = |version, run| {
            let (name, trial) = ("m".to_owned(), trial(run));
            [ObjectChange::SetTrial { name, version, trial }]
        };
        store.change_objects(&set(2, 7)).await.unwrap();
        let mut counts = TrialCounts::default();
        counts.add(TrialCount::TrialCalls, 3);
        for _node in 0..2 {
            store.add_trial_counts("m", 7, counts).await.unwrap();
        }
        let read = store.read_trial_counts("m", 7).await.unwrap();
        assert_eq!(read, counts.plus(&counts), "{url}");
        store.change_objects(&set(3, 8)).await.unwrap();
        let trials = || async {
            let versions = store.list_modules().await.unwrap();
            versions.into_iter().map(|version| version.trial).collect::<Vec<_>>()
        };
        assert_eq!(trials().await, [None, None, Some(trial(8))], "{url}");
        let forgotten = store.read_trial_counts("m", 7).await.unwrap();
        assert_eq!(forgotten, TrialCounts::default(), "{url}");
        let missing = store.change_objects(&set(4, 9)).await;
        assert!(matches!(missing, Err(StoreError::Missing(_))), "{url}: {missing:?}");
        assert_eq!(trials().await[2], Some(trial(8)), "{url}: all or nothing");
        let activate =
            ObjectChange::ActivateModule { name: "m".to_owned(), version: 2, approved: None };
        store.change_objects(&[activate]).await.unwrap();
        assert_eq!(trials().await, [None, None, None], "{url}");
    }
}

#[tokio::test]
async fn versions_of_a_module_count_up_and_one_is_active() {
    for TestStore { store, url, .. } in stores().await {
        let approved = BTreeSet::from(["http:a.example".to_owned()]);
        let module = |activate, version| NewModule {
            approved: &approved,
            name: "m",
            version,
            sha256: [7; 32],
            wasm: b"\0asm",
            report: "{}",
            activate,
            cases: None,
        };
        assert_eq!(store.add_module(module(true, None)).await.unwrap(), 1, "{url}");
        assert_eq!(store.add_module(module(true, None)).await.unwrap(), 2, "{url}");
        let taken = store.add_module(module(false, Some(2))).await;
        assert!(matches!(taken, Err(StoreError::NameTaken(_))), "{url}: {taken:?}");
        let stored = store.list_modules().await.unwrap();
        let active: Vec<(u32, bool)> =
            stored.iter().map(|module| (module.version, module.active)).collect();
        assert_eq!(active, [(1, false), (2, true)], "{url}");
        assert!(stored.iter().all(|module| module.approved == approved), "{url}");
        let mut cases = CasesReport::default();
        cases.note_case("one", None, serde_json::json!({"end": "failed"}));
        store.note_cases("m", 2, &cases).await.unwrap();
        let stored = store.list_modules().await.unwrap();
        let found: Vec<Option<&CasesReport>> = stored.iter().map(|m| m.cases.as_ref()).collect();
        assert_eq!(found, [None, Some(&cases)], "{url}");
        assert_eq!(
            store.load_component([7; 32]).await.unwrap().as_deref(),
            Some(&b"\0asm"[..]),
            "{url}"
        );
        assert_eq!(store.load_component([8; 32]).await.unwrap(), None, "{url}");
    }
}

pub fn kept(key: i64) -> KeptRow {
    let hash = ShortDigest::of([key.to_string()]);
    let head = RowHead { key, hash, revision: 1, marks: String::new() };
    KeptRow { head, cells: format!("[{key}]") }
}

#[tokio::test]
async fn a_run_keeps_rows_and_events_only_while_it_holds_its_source() {
    for TestStore { store, url, .. } in stores().await {
        let (source, began) = (SourceId::generate(), store.clock().now());
        assert!(store.lease_source(source, began, None).await.unwrap(), "{url}");
        assert!(
            !store.lease_source(source, began, None).await.unwrap(),
            "{url}: it has run in the meantime"
        );
        let changes = |run| {
            let mut changes = SourceChanges::of(source, run, "invoices");
            changes.put = vec![kept(1), kept(2)];
            changes.memory = Some("{\"at\":2}".to_owned());
            changes
        };
        let taken = store.capture_from_source(vec![invoice("1")], changes(began)).await.unwrap();
        assert_eq!(taken.unwrap().len(), 1, "{url}");
        let earlier = began.before(Duration::from_secs(1));
        let lost = store.capture_from_source(vec![invoice("2")], changes(earlier)).await.unwrap();
        assert!(lost.is_none(), "{url}");
        let heads = store.list_row_heads(source, "invoices", KeyRange::ALL).await.unwrap();
        assert_eq!(heads.iter().map(|head| head.key).collect::<Vec<_>>(), [1, 2], "{url}");
        let some = store.find_kept_rows(source, "invoices", &[2, 3]).await.unwrap();
        assert_eq!((some.len(), some[0].cells.as_str()), (1, "[2]"), "{url}");
        let state = store.list_source_states().await.unwrap().remove(0);
        assert!(state.running && state.is_ours && state.memory == "{\"at\":2}", "{url}");
        store.release_source(source, &RunReport::default()).await.unwrap();
        assert!(!store.list_source_states().await.unwrap()[0].running, "{url}");
        store.forget_source(source).await.unwrap();
        assert!(store.list_source_states().await.unwrap().is_empty(), "{url}");
    }
}

/// A node of an older version cannot read every source that a newer one has stored.
#[tokio::test]
async fn a_source_is_forgotten_when_it_is_deleted_and_not_when_it_cannot_be_read() {
    for TestStore { store, url, .. } in stores().await {
        let [deleted, unreadable, running] = [(); 3].map(|()| SourceId::generate());
        let newer = ObjectChange::Put {
            kind: ObjectKind::Source,
            id: unreadable.uuid(),
            name: "newer".to_owned(),
            body: "of a newer version".to_owned(),
            sealed: None,
            created_at: Timestamp::from_micros(5),
            replaces: None,
        };
        store.change_objects(&[newer]).await.unwrap();
        for source in [deleted, unreadable, running] {
            let began = store.clock().now();
            assert!(store.lease_source(source, began, None).await.unwrap(), "{url}");
            let mut changes = SourceChanges::of(source, began, "invoices");
            changes.put = vec![kept(1)];
            store.capture_from_source(Vec::new(), changes).await.unwrap().unwrap();
        }
        for source in [deleted, unreadable] {
            store.release_source(source, &RunReport::default()).await.unwrap();
        }
        assert_eq!(store.forget_deleted_sources().await.unwrap(), 1, "{url}");
        for (source, is_kept) in [(deleted, false), (unreadable, true), (running, true)] {
            let lists = store.list_kept_lists(source).await.unwrap();
            assert_eq!(!lists.is_empty(), is_kept, "{url}");
        }
    }
}

#[tokio::test]
async fn a_deleted_token_is_forgotten_with_its_usage() {
    for TestStore { store, url, .. } in stores().await {
        let token = TokenId::generate();
        let usage = crate::model::api_call::TokenUsage {
            token,
            window_began: 1,
            calls: 3,
            last_used_at: store.clock().now(),
        };
        let notes = crate::store::AuditNotes { usages: vec![usage], ..Default::default() };
        store.queue_notes(notes).unwrap();
        store.flush_writes().await;
        assert_eq!(store.list_token_usages().await.unwrap()[0].calls, 3, "{url}");
        let delete = ObjectChange::Delete { kind: ObjectKind::Token, id: token.uuid() };
        store.change_objects(&[delete]).await.unwrap();
        assert!(store.list_token_usages().await.unwrap().is_empty(), "{url}");
    }
}
