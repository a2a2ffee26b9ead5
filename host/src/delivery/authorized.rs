//! Sends requests to endpoints that need a token from a token server, a signature of Amazon Web
//! Services, or TLS settings of their own. No request is sent without its token or signature.

use super::token_request::TokenAsk;
use super::token_source::{ObtainedToken, obtain_token};
use crate::net::error_class::ErrorClass;
use crate::net::http_client::{ClientReply, ClientRequest, DeliveryClient, SendError};
use crate::settings::endpoint_access::EndpointAccess;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::settings::oauth_access::OauthAccess;
use crate::signing::aws_signature::{AwsSigner, UnsignedRequest};
use crate::time::timestamp::Timestamp;
use http::{StatusCode, header};
use std::future::pending;
use std::time::Duration;
use tokio::time::Instant;

/// The result of sending a request, or of failing to get a token for it.
#[derive(Debug)]
pub struct AuthorizedReply {
    pub sent: Result<ClientReply, SendError>,
    /// A note for the attempt's record about each token that was fetched for the request.
    pub fetched: Vec<String>,
}

impl AuthorizedReply {
    fn failed(class: ErrorClass, detail: String, duration: Duration) -> Self {
        Self { sent: Err(SendError { class, detail, duration }), fetched: Vec::new() }
    }
}

/// Sends a request, with a token if the endpoint uses tokens. If the receiver answers 401, the
/// token is discarded and the request is sent once more with a new one. `timeout` bounds the whole
/// exchange. Returns `None` if `withdrawn` completed before the request began.
pub async fn send_authorized(
    client: &DeliveryClient,
    target: &EndpointRuntime,
    access: &EndpointAccess,
    mut request: ClientRequest,
    timeout: Duration,
    wall: Timestamp,
    withdrawn: impl Future<Output = ()>,
) -> Option<AuthorizedReply> {
    if let Some(Err(why)) =
        access.aws_signer.as_ref().map(|aws| sign_request(aws, &mut request, wall))
    {
        let detail = format!("the request cannot be signed: {why}");
        return Some(AuthorizedReply::failed(ErrorClass::Auth, detail, Duration::ZERO));
    }
    let clients =
        access.delivery_client(client).and_then(|own| Ok((own, access.token_client(client)?)));
    let (own, token_client) = match clients {
        Ok(clients) => clients,
        Err(why) => {
            let detail = format!("the endpoint's certificates cannot be used: {why}");
            return Some(AuthorizedReply::failed(ErrorClass::Tls, detail, Duration::ZERO));
        }
    };
    let Some(oauth) = &access.tokens else {
        let sent = own.send(request, timeout, withdrawn).await?;
        return Some(AuthorizedReply { sent, fetched: Vec::new() });
    };
    let ask = TokenAsk { oauth, client: token_client, redactor: &target.redactor, wall };
    let started = Instant::now();
    let sender = TokenSender { client: own, ask, started, deadline: started + timeout };
    let mut reply = sender.send(request, withdrawn).await?;
    // The time-out and the duration cover the whole attempt, not only its last request.
    match &mut reply.sent {
        Ok(sent) => sent.duration = started.elapsed(),
        Err(error) => error.duration = started.elapsed(),
    }
    Some(reply)
}

fn sign_request(
    signer: &AwsSigner,
    request: &mut ClientRequest,
    wall: Timestamp,
) -> Result<(), header::InvalidHeaderValue> {
    let ClientRequest { method, uri, body, headers, .. } = request;
    signer.sign(UnsignedRequest { method, uri, body }, wall, headers)
}

struct TokenSender<'a> {
    client: &'a DeliveryClient,
    ask: TokenAsk<'a>,
    started: Instant,
    deadline: Instant,
}

impl TokenSender<'_> {
    fn oauth(&self) -> &OauthAccess {
        self.ask.oauth
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn without_token(&self, detail: String) -> AuthorizedReply {
        AuthorizedReply::failed(ErrorClass::Auth, detail, self.started.elapsed())
    }

    async fn send(
        &self,
        mut request: ClientRequest,
        withdrawn: impl Future<Output = ()>,
    ) -> Option<AuthorizedReply> {
        let mut withdrawn = Box::pin(withdrawn);
        let obtained = tokio::select! {
            biased;
            () = &mut withdrawn => return None,
            obtained = obtain_token(self.ask, self.deadline) => obtained,
        };
        let ObtainedToken { token, fetched } = match obtained {
            Ok(obtained) => obtained,
            Err(why) => return Some(self.without_token(why)),
        };
        request.headers.insert(header::AUTHORIZATION, token.header.clone());
        let sent = self.client.send(request.clone(), self.left(), withdrawn).await?;
        let sent = sent.map(|reply| token.redactor.mask_reply(reply));
        let first = AuthorizedReply { sent, fetched: fetched.into_iter().collect() };
        let is_refused =
            matches!(&first.sent, Ok(reply) if reply.status == StatusCode::UNAUTHORIZED);
        if !is_refused {
            return Some(first);
        }
        self.oauth().slot.drop_token(&token);
        Some(self.send_again(request, first).await)
    }

    /// Sends a request again, with a new token, after the receiver refused the first one.
    async fn send_again(
        &self,
        mut request: ClientRequest,
        first: AuthorizedReply,
    ) -> AuthorizedReply {
        let ObtainedToken { token, fetched } = match obtain_token(self.ask, self.deadline).await {
            Ok(obtained) => obtained,
            Err(why) => {
                let detail = format!("the receiver answered 401, and then {why}");
                return AuthorizedReply { fetched: first.fetched, ..self.without_token(detail) };
            }
        };
        request.headers.insert(header::AUTHORIZATION, token.header.clone());
        let sent = self.client.send(request, self.left(), pending()).await;
        // The second request cannot be withdrawn, so the fallback is never used.
        let sent = sent.unwrap_or_else(|| first.sent.clone());
        let sent = sent.map(|reply| token.redactor.mask_reply(reply));
        let again = fetched.map(|fetched| format!("{fetched} after the receiver answered 401"));
        AuthorizedReply { sent, fetched: first.fetched.into_iter().chain(again).collect() }
    }
}
