//! The effects of a broken connection to PostgreSQL.

use super::planning::capture_planning_row;
use super::*;
use crate::model::id::FlowId;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A connection to the server that a test can break.
struct BreakableLine {
    url: String,
    /// When cancelled, connections stay open but pass nothing on.
    silence: CancellationToken,
    /// Whether new connections work although older ones are silent.
    is_mended: Arc<AtomicBool>,
    /// The request whose answer is withheld next.
    fault: Arc<Mutex<Option<LineFault>>>,
}

/// A request whose answer is withheld, and what then becomes of the connection.
#[derive(Debug, Clone, Copy)]
struct LineFault {
    /// Part of the request.
    at: &'static str,
    /// Whether the connection goes silent instead of being closed.
    is_silent: bool,
}

impl BreakableLine {
    /// Opens a proxy to the server of the tests, if there is one.
    async fn open() -> Option<Self> {
        let url = postgres_url().await?;
        let mut server: url::Url = url.parse().unwrap();
        let (host, port) = (server.host_str().unwrap().to_owned(), server.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        server.set_host(Some("127.0.0.1")).unwrap();
        server.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let line = Self {
            url: server.to_string(),
            silence: CancellationToken::new(),
            is_mended: Arc::default(),
            fault: Arc::default(),
        };
        let (silence, fault) = (line.silence.clone(), Arc::clone(&line.fault));
        let is_mended = Arc::clone(&line.is_mended);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect((host.as_str(), port)).await.unwrap();
                let is_sound = is_mended.load(Ordering::SeqCst);
                let silence = if is_sound { CancellationToken::new() } else { silence.clone() };
                tokio::spawn(pass_on(client, server, silence, Arc::clone(&fault)));
            }
        });
        Some(line)
    }

    fn withhold(&self, at: &'static str, is_silent: bool) {
        *self.fault.lock().unwrap() = Some(LineFault { at, is_silent });
    }

    fn is_withheld(&self) -> bool {
        self.fault.lock().unwrap().is_none()
    }
}

async fn pass_on(
    client: TcpStream,
    server: TcpStream,
    silence: CancellationToken,
    fault: Arc<Mutex<Option<LineFault>>>,
) {
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let met = Arc::new(OnceLock::new());
    let (watched, silenced) = (Arc::clone(&met), CancellationToken::new());
    let there = copy(from_client, to_server, move |bytes| {
        let is_at = |fault: &LineFault| {
            bytes.windows(fault.at.len()).any(|part| part == fault.at.as_bytes())
        };
        let mut fault = fault.lock().unwrap();
        if fault.as_ref().is_some_and(is_at) {
            watched.set(fault.take().unwrap()).unwrap();
        }
        true
    });
    let quiet = silenced.clone();
    let back = copy(from_server, to_client, move |_| match met.get() {
        Some(fault) if fault.is_silent => {
            quiet.cancel();
            true
        }
        met => met.is_none(),
    });
    tokio::pin!(there, back);
    tokio::select! {
        // The silence comes before the answer goes out.
        biased;
        () = silence.cancelled() => std::future::pending().await,
        () = silenced.cancelled() => std::future::pending().await,
        () = &mut there => {}
        () = &mut back => {}
    }
}

/// Copies until either end is closed, or until `passes` rejects a piece.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, passes: impl Fn(&[u8]) -> bool) {
    let mut piece = vec![0; 64 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut piece).await else { return };
        let passes = passes(&piece[..length]);
        // A silence that begins with this piece holds it back.
        tokio::task::yield_now().await;
        if !passes || to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

/// With a key, a transaction of several statements writes the event.
fn keyed(key: &str) -> EventCapture {
    EventCapture { keys: vec![key.to_owned()], ..invoice("17") }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_acknowledged() {
    let Some(line) = BreakableLine::open().await else { return };
    let store = open(&line.url).await;
    line.withhold("COMMIT", false);
    let captured = keyed("id 1");
    let id = captured.event.id;
    let receipts = store.capture_events(vec![captured]).await.unwrap();
    assert_eq!(receipts, [CaptureReceipt { id, duplicate: false }]);
    assert!(line.is_withheld());
    let again = store.capture_events(vec![keyed("id 1")]).await.unwrap();
    assert_eq!(again, [CaptureReceipt { id, duplicate: true }]);
}

#[tokio::test]
async fn connections_that_have_become_silent_are_given_up() {
    let Some(line) = BreakableLine::open().await else { return };
    let store = open(&line.url).await;
    store.capture_events(vec![keyed("id 1")]).await.unwrap();
    line.silence.cancel();
    let held_up = store.capture_events(vec![keyed("id 2")]).await;
    assert!(matches!(held_up, Err(StoreError::Late(_))), "{held_up:?}");
    line.is_mended.store(true, Ordering::SeqCst);
    // Each writer finds out about its own connections.
    while store.capture_events(vec![keyed("id 3")]).await.is_err() {}
    assert!(store.find_event(EventId::generate()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_host_that_does_not_listen_is_passed_over() {
    let Some(url) = postgres_url().await else { return };
    // No server listens on port 1.
    let two = url.replacen('@', "@127.0.0.1:1,", 1);
    assert_ne!(url, two, "the URL names a user");
    let store = open(&two).await;
    let captured = keyed("id 1");
    let id = captured.event.id;
    store.capture_events(vec![captured]).await.unwrap();
    assert!(store.find_event(id).await.unwrap().is_some());
}

/// Part of the first statement that reads the deliveries of a claim.
const READS_DELIVERIES: &str = "LEFT JOIN message m";
/// Part of the first statement that reads the plannings of a claim.
const READS_PLANNINGS: &str = "FROM planning p JOIN event e";
const HOLD: Duration = Duration::from_mins(1);

/// Claims the only due delivery of an endpoint, and returns its id if there is one.
async fn claim_delivery(
    store: &EventStore,
    endpoint: EndpointId,
) -> Result<Option<DeliveryId>, StoreError> {
    let lane = store.prefetch().open_lane(endpoint, 8);
    let claimed = store.claim_deliveries(&lane, false, HOLD).await?;
    Ok(claimed.first().map(|one| one.id))
}

/// Claims the only due planning of a flow, and returns its event's id if there is one.
async fn claim_planning(store: &EventStore, flow: FlowId) -> Result<Option<EventId>, StoreError> {
    let lane = store.prefetch().open_flow_lane(flow);
    let claimed = store.claim_plannings(&lane, HOLD).await?;
    Ok(claimed.first().map(|one| one.event.id))
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_taken_over() {
    for is_silent in [false, true] {
        let Some(line) = BreakableLine::open().await else { return };
        let store = open(&line.url).await;
        let (endpoint, flow) = (EndpointId::generate(), FlowId::generate());
        let made = capture_delivery(&store, endpoint, None).await;
        let event = capture_planning_row(&store, flow).await;
        line.withhold("COMMIT", is_silent);
        assert_eq!(claim_delivery(&store, endpoint).await.unwrap(), Some(made.id));
        assert!(line.is_withheld());
        line.withhold("COMMIT", is_silent);
        assert_eq!(claim_planning(&store, flow).await.unwrap(), Some(event));
        assert!(line.is_withheld());
    }
}

#[tokio::test]
async fn a_claim_that_cannot_be_read_is_released() {
    for is_silent in [false, true] {
        let Some(line) = BreakableLine::open().await else { return };
        let store = open(&line.url).await;
        let (endpoint, flow) = (EndpointId::generate(), FlowId::generate());
        let made = capture_delivery(&store, endpoint, None).await;
        let event = capture_planning_row(&store, flow).await;
        line.withhold(READS_DELIVERIES, is_silent);
        claim_delivery(&store, endpoint).await.unwrap_err();
        line.withhold(READS_PLANNINGS, is_silent);
        claim_planning(&store, flow).await.unwrap_err();
        assert!(line.is_withheld());
        assert_eq!(claim_delivery(&store, endpoint).await.unwrap(), None, "it is leased");
        assert_eq!(claim_planning(&store, flow).await.unwrap(), None, "it is leased");
        store.release_late().await.unwrap();
        assert_eq!(claim_delivery(&store, endpoint).await.unwrap(), Some(made.id));
        assert_eq!(claim_planning(&store, flow).await.unwrap(), Some(event));
    }
}

/// The lock of a change, whose holder went silent: the next one gets it at once.
#[tokio::test]
async fn a_lock_that_a_silent_connection_holds_is_released() {
    let Some(line) = BreakableLine::open().await else { return };
    let store = open(&line.url).await;
    let key = 17 << 32 | i64::from(rand::random::<u32>() >> 1);
    let held = store.pool().take_cluster_lock(key, HOLD).await.unwrap();
    line.silence.cancel();
    line.is_mended.store(true, Ordering::SeqCst);
    drop(held);
    drop(store.pool().take_cluster_lock(key, HOLD).await.unwrap());
}
