use super::*;
use crate::store::db::SqlQuery;
use crate::store::objects::ObjectKind;

const SEEN: &str = "INSERT INTO node (id, seen_at) VALUES ($1, $2)";
const COUNT: &str = "SELECT COUNT(*) AS value FROM node WHERE id = $1";
/// No process has this id, because ids are positive.
const NODE: i64 = -1;

async fn count(store: &EventStore) -> i64 {
    store.pool().fetch_value(SqlQuery::new(COUNT).bind(NODE)).await.unwrap()
}

#[tokio::test]
async fn what_a_closure_wrote_is_gone_where_it_fails() {
    for TestStore { store, url, .. } in stores().await {
        let failed: Result<(), StoreError> = store
            .pool()
            .write(|tx| {
                Box::pin(async move {
                    tx.execute(SqlQuery::new(SEEN).bind(NODE).bind(1_i64)).await?;
                    Err(StoreError::Missing("thing".to_owned()))
                })
            })
            .await;
        assert!(matches!(failed, Err(StoreError::Missing(_))), "{url}: {failed:?}");
        assert_eq!(count(&store).await, 0, "{url}");
        store.pool().execute(SqlQuery::new(SEEN).bind(NODE).bind(1_i64)).await.unwrap();
        assert_eq!(count(&store).await, 1, "{url}: the next transaction starts anew");
    }
}

#[tokio::test]
async fn the_state_of_a_transaction_comes_back_with_an_error() {
    for TestStore { store, url, .. } in stores().await {
        let (state, failed) = store
            .pool()
            .transact(vec![1], |_tx, state: &mut Vec<i32>| {
                Box::pin(async move {
                    state.push(2);
                    Err::<(), _>(StoreError::Raced)
                })
            })
            .await;
        assert!(matches!(failed, Err(StoreError::Raced)), "{url}");
        assert_eq!(state, [1, 2], "{url}");
    }
}

#[tokio::test]
async fn a_closure_that_panics_costs_no_other() {
    let folder = TempDir::new().unwrap();
    let store = open(&format!("sqlite:{}", folder.path().join("w.db").display())).await;
    let panicked: Result<(), StoreError> = store
        .pool()
        .write(|tx| {
            Box::pin(async move {
                tx.execute(SqlQuery::new(SEEN).bind(NODE).bind(1_i64)).await?;
                panic!("a bug in an operation")
            })
        })
        .await;
    assert!(matches!(panicked, Err(StoreError::Closed)), "{panicked:?}");
    assert_eq!(count(&store).await, 0);
    store.capture_events(vec![invoice("17")]).await.unwrap();
}

#[tokio::test]
async fn more_readings_than_connections_all_end() {
    for TestStore { store, url, .. } in stores().await {
        let reading = (0..64).map(|_| store.list_objects::<serde_json::Value>(ObjectKind::Flow));
        for read in futures_util::future::join_all(reading).await {
            assert!(read.unwrap().is_empty(), "{url}");
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_when_the_store_is_opened_again() {
    for TestStore { store, url, _folder } in stores().await {
        let receipts = store.capture_events(vec![invoice("17")]).await.unwrap();
        store.leave_process().await.unwrap();
        store.pool().close().await;
        drop(store);
        let store = reopen(&url).await;
        assert!(store.find_event(receipts[0].id).await.unwrap().is_some(), "{url}");
    }
}

/// Opens a database as soon as its previous user has released it.
async fn reopen(url: &str) -> EventStore {
    loop {
        match EventStore::open(url, Clock::System, StoreOpening::default()).await {
            Ok((store, _)) => return store,
            Err(StoreError::InUse { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Opens an SQLite database when the last thread of the previous user has closed its connection.
async fn open_again(url: &str) -> Result<EventStore, StoreError> {
    loop {
        match EventStore::open(url, Clock::System, StoreOpening::default()).await {
            Err(StoreError::InUse { .. }) => tokio::task::yield_now().await,
            other => return other.map(|(store, _)| store),
        }
    }
}

macro_rules! of_newer_version {
    ($checksum:literal) => {
        concat!(
            "INSERT INTO _sqlx_migrations \
            (version, description, success, checksum, execution_time) \
            VALUES (9999, 'of a newer version', TRUE, ",
            $checksum,
            ", 0)"
        )
    };
}

#[tokio::test]
async fn a_schema_that_a_newer_version_changed_is_used_if_that_allows_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("w.db");
    let url = format!("sqlite:{}", path.display());
    open_again(&url).await.unwrap().pool().close().await;
    let run = |text: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(text);
    run("ALTER TABLE delivery ADD COLUMN newer TEXT").unwrap();
    run(of_newer_version!("x'00'")).unwrap();
    let store = open_again(&url).await.unwrap();
    capture_delivery(&store, EndpointId::generate(), None).await;
    store.pool().close().await;
    drop(store);
    run("INSERT INTO schema_floor (version) VALUES (9999)").unwrap();
    let refused = open_again(&url).await.unwrap_err();
    assert!(matches!(refused, StoreError::NewerSchema { migration: 9_999 }), "{refused}");
}

#[tokio::test]
async fn so_is_one_in_postgresql() {
    let Some(url) = postgres_url().await else { return };
    let store = open(&url).await;
    let run = async |text: &'static str| store.pool().execute(SqlQuery::new(text)).await.unwrap();
    run(of_newer_version!("'\\x00'")).await;
    run("ALTER TABLE delivery ADD COLUMN newer TEXT").await;
    capture_delivery(&open(&url).await, EndpointId::generate(), None).await;
    run("INSERT INTO schema_floor (version) VALUES (9999)").await;
    let refused = EventStore::open(&url, Clock::System, StoreOpening::default()).await;
    assert!(matches!(refused, Err(StoreError::NewerSchema { migration: 9_999 })));
}

#[tokio::test]
async fn a_reading_that_nobody_waits_for_gives_its_connection_back() {
    const ENDLESS: &str =
        "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n";
    let folder = TempDir::new().unwrap();
    let store = open(&format!("sqlite:{}", folder.path().join("w.db").display())).await;
    // More reads than there are connections.
    for _ in 0..8 {
        let (begun, mut has_begun) = tokio::sync::mpsc::unbounded_channel();
        let take = move |(): &mut (), (): ()| {
            let _sent = begun.send(());
            std::ops::ControlFlow::Continue(())
        };
        let reading = store.pool().fetch_while(SqlQuery::new(ENDLESS), (), take);
        tokio::select! {
            ended = reading => panic!("the read does not end: {ended:?}"),
            first = has_begun.recv() => assert!(first.is_some()),
        }
    }
    assert!(store.list_objects::<serde_json::Value>(ObjectKind::Flow).await.unwrap().is_empty());
}
