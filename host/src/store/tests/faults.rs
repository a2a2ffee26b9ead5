//! The effects of a broken connection to PostgreSQL.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Whether the next answer to a commit is withheld and its connection closed.
    cuts_commit: Arc<AtomicBool>,
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
            cuts_commit: Arc::default(),
        };
        let (silence, cuts) = (line.silence.clone(), Arc::clone(&line.cuts_commit));
        let is_mended = Arc::clone(&line.is_mended);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect((host.as_str(), port)).await.unwrap();
                let is_sound = is_mended.load(Ordering::SeqCst);
                let silence = if is_sound { CancellationToken::new() } else { silence.clone() };
                tokio::spawn(pass_on(client, server, silence, Arc::clone(&cuts)));
            }
        });
        Some(line)
    }
}

async fn pass_on(
    client: TcpStream,
    server: TcpStream,
    silence: CancellationToken,
    cuts_commit: Arc<AtomicBool>,
) {
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let is_cut = Arc::new(AtomicBool::new(false));
    let watched = Arc::clone(&is_cut);
    let there = copy(from_client, to_server, move |bytes| {
        let is_commit = bytes.windows(6).any(|part| part == b"COMMIT");
        if is_commit && cuts_commit.swap(false, Ordering::SeqCst) {
            watched.store(true, Ordering::SeqCst);
        }
        true
    });
    let back = copy(from_server, to_client, move |_| !is_cut.load(Ordering::SeqCst));
    tokio::pin!(there, back);
    tokio::select! {
        () = &mut there => {}
        () = &mut back => {}
        () = silence.cancelled() => std::future::pending().await,
    }
}

/// Copies until either end is closed, or until `passes` rejects a piece.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, passes: impl Fn(&[u8]) -> bool) {
    let mut piece = vec![0; 64 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut piece).await else { return };
        if !passes(&piece[..length]) || to.write_all(&piece[..length]).await.is_err() {
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
    line.cuts_commit.store(true, Ordering::SeqCst);
    let captured = keyed("id 1");
    let id = captured.event.id;
    let receipts = store.capture_events(vec![captured]).await.unwrap();
    assert_eq!(receipts, [CaptureReceipt { id, duplicate: false }]);
    assert!(!line.cuts_commit.load(Ordering::SeqCst), "the answer was withheld");
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
