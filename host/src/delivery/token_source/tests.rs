//! Checks tokens against a token server that counts its requests and answers when the test lets it.

use super::*;
use crate::model::oauth_settings::OauthSettings;
use crate::model::redactor::SecretRedactor;
use crate::net::http_client::{ClientSettings, DeliveryClient};
use crate::settings::oauth_access::OauthAccess;
use crate::time::timestamp::Timestamp;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// A token server on loopback. It closes each connection after the answer.
struct TokenServer {
    port: u16,
    asked: Arc<AtomicUsize>,
    /// The number of requests that may be answered.
    let_on: Arc<Semaphore>,
}

impl TokenServer {
    /// Starts a server that gives these answers in order, and repeats the last one.
    async fn start(answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let let_on = Arc::new(Semaphore::new(0));
        let (counter, gate) = (Arc::clone(&asked), Arc::clone(&let_on));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                let answer = answers.get(number).or(answers.last()).unwrap();
                answer_request(stream, answer).await;
            }
        });
        Self { port, asked, let_on }
    }

    fn access(&self) -> OauthAccess {
        let token_url = format!("http://127.0.0.1:{}/token", self.port);
        let settings = serde_json::json!({"token_url": token_url, "client_id": "c",
                                          "client_secret": "s3cret-value"});
        OauthAccess::new(&serde_json::from_value::<OauthSettings>(settings).unwrap())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn answer_request(mut stream: TcpStream, answer: &str) {
    let mut request = Vec::new();
    // The form ends with the grant.
    while !request.ends_with(b"client_credentials") {
        let mut piece = [0; 1_024];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "the request breaks off");
        request.extend_from_slice(&piece[..read]);
    }
    let (status, body) = answer.split_once(' ').unwrap();
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}

fn client() -> DeliveryClient {
    DeliveryClient::new(ClientSettings {
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        extra_ca_pem: None,
        name_servers: Vec::new(),
        max_connections: 64,
    })
    .unwrap()
}

/// Requests a token many times at once, and lets the token server answer when all are waiting.
async fn obtain_together(
    server: &TokenServer,
    access: &OauthAccess,
    times: usize,
) -> Vec<Result<ObtainedToken, String>> {
    let (client, redactor) = (client(), SecretRedactor::default());
    let wall = Timestamp::from_micros(1_700_000_000_000_000);
    let ask = TokenAsk { oauth: access, client: &client, redactor: &redactor, wall };
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut asking = Box::pin(join_all((0..times).map(|_| obtain_token(ask, deadline))));
    assert!(asking.as_mut().now_or_never().is_none(), "the token server is held");
    server.let_on.add_permits(1);
    asking.await
}

#[tokio::test]
async fn fifty_deliveries_request_one_token() {
    let server = TokenServer::start(&[r#"200 {"access_token":"tok-1","expires_in":60}"#]).await;
    let access = server.access();
    let obtained = obtain_together(&server, &access, 50).await;
    let tokens: Vec<ObtainedToken> = obtained.into_iter().map(Result::unwrap).collect();
    assert!(tokens.iter().all(|one| one.token.header == "Bearer tok-1"));
    assert_eq!(tokens.iter().filter(|one| one.fetched.is_some()).count(), 1);
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn deliveries_that_waited_share_a_failure() {
    let answers = &[r#"503 {"error":"busy"}"#, r#"200 {"access_token":"tok-1"}"#];
    let server = TokenServer::start(answers).await;
    let access = server.access();
    for failed in obtain_together(&server, &access, 50).await {
        let why = failed.unwrap_err();
        assert!(why.contains("answered 503") && why.ends_with(": busy"), "{why}");
    }
    assert_eq!(server.asked(), 1);
    // A later delivery requests a token again.
    let obtained = obtain_together(&server, &access, 1).await;
    assert_eq!(obtained[0].as_ref().unwrap().token.header, "Bearer tok-1");
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_is_used_until_it_expires() {
    let server = TokenServer::start(&["500 {}"]).await;
    let access = server.access();
    let life = Some(Duration::from_secs(100));
    let asked = Instant::now().checked_sub(Duration::from_secs(90)).unwrap();
    let aging = FetchedToken::new("Bearer", "tok-old".to_owned(), asked, life).unwrap();
    access.slot.put(Arc::new(aging));
    let obtained = obtain_together(&server, &access, 20).await;
    assert!(obtained.iter().all(|one| one.as_ref().unwrap().token.header == "Bearer tok-old"));
    assert_eq!(server.asked(), 1);
}
