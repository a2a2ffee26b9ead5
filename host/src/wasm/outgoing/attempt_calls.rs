//! The requests of a module that delivers: for one attempt of one delivery, recorded with it.
//!
//! They pass the same checks as those of the capability `http`. Their answers are not recorded for a
//! later run, because another attempt is another conversation.

use super::call_values::{ModuleReply, ModuleRequest, RequestRefusal};
use super::checked_request::CheckedRequest;
use crate::model::capability_grants::CapabilityGrants;
use crate::model::private_values::{MASK, mask_url};
use crate::model::redactor::SecretRedactor;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::permit::SendPermit;
use crate::net::http_client::{ClientReply, ClientRequest, DeliveryClient, SendError};
use crate::signing::usable_secret::UsableSecrets;
use http::{HeaderMap, HeaderName};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most bytes of all answers of one attempt.
const MOST_BYTES: usize = 4 << 20;
/// Parts of the names of headers that carry credentials, whoever set them.
const CREDENTIALS: [&str; 6] = ["authorization", "cookie", "token", "secret", "key", "signature"];

/// Makes the requests of one attempt.
#[derive(Debug)]
pub struct AttemptCalls<'a> {
    client: &'a DeliveryClient,
    grants: &'a CapabilityGrants,
    secrets: &'a UsableSecrets,
    /// Hosts for which the operator allows plain HTTP.
    plain_http: &'a [String],
    /// Most bytes of an answer's body.
    most: usize,
    bytes_left: usize,
    /// Masks the secrets of all requests so far: a server may answer one with what another one sent.
    redactor: SecretRedactor,
    /// Room for the answers of all attempts, in KiB. It is taken before a request, because nobody
    /// knows how long the answer will be.
    room: Arc<Semaphore>,
    /// The room that this attempt's answers take up.
    held: Vec<OwnedSemaphorePermit>,
    /// Checked before each request is written: another node may have taken the delivery over since
    /// the first one.
    permit: Option<SendPermit>,
}

/// A request that was answered, without secrets.
#[derive(Debug)]
pub struct AnsweredCall {
    /// The method and the address.
    pub place: String,
    /// The headers of the request. Those that carry credentials are masked.
    pub headers: Vec<(String, String)>,
    /// The answer as the receiver gave it.
    pub reply: ClientReply,
}

impl AnsweredCall {
    /// Returns the answer as a module sees it.
    pub fn module_reply(&self) -> ModuleReply {
        ModuleReply::of(&self.reply)
    }
}

/// A request that was not made, or not answered.
#[derive(Debug)]
pub struct FailedCall {
    /// The method and the address. `None` if the request was not made.
    pub place: Option<String>,
    pub class: ErrorClass,
    /// The failure in a sentence, without secrets.
    pub detail: String,
    /// Whether the same request would fail every time.
    pub is_final: bool,
}

impl<'a> AttemptCalls<'a> {
    pub fn new(
        client: &'a DeliveryClient,
        (grants, secrets): (&'a CapabilityGrants, &'a UsableSecrets),
        plain_http: &'a [String],
        (most, room): (usize, Arc<Semaphore>),
    ) -> Self {
        let redactor = SecretRedactor::default();
        let (bytes_left, held, permit) = (MOST_BYTES, Vec::new(), None);
        Self { client, grants, secrets, plain_http, most, bytes_left, redactor, room, held, permit }
    }

    /// Makes each request only while the permit holds.
    #[must_use]
    pub fn with_permit(self, permit: Option<SendPermit>) -> Self {
        Self { permit, ..self }
    }

    /// Makes a request within a time. Returns `None` if `withdrawn` completed before it began, or if
    /// the permit is lost.
    pub async fn make_call(
        &mut self,
        request: &ModuleRequest,
        time: Duration,
        withdrawn: impl Future<Output = ()>,
    ) -> Option<Result<AnsweredCall, FailedCall>> {
        let checked = CheckedRequest::new(request, self.grants, Some(self.plain_http));
        let complete = checked.and_then(|it| it.complete(request, self.grants, self.secrets));
        let request = match complete {
            Ok((request, redactor)) => {
                self.redactor.add_secrets_of(redactor);
                request
            }
            Err(refusal) => return Some(Err(FailedCall::refused(refusal))),
        };
        let place = format!("{} {}", request.method, mask_url(&request.uri.to_string()));
        let headers = shown_headers(&request.headers);
        let most = self.most.min(self.bytes_left);
        let began = Instant::now();
        let mut withdrawn = std::pin::pin!(withdrawn);
        let room = tokio::select! {
            biased;
            () = &mut withdrawn => return None,
            room = self.take_room(most, time) => room,
        };
        let Some(room) = room else { return Some(Err(FailedCall::crowded_out())) };
        let time = time.saturating_sub(began.elapsed());
        // Never sent twice by the client, because not every API recognises a repeat.
        let request = ClientRequest { is_sent_once: true, permit: self.permit.clone(), ..request };
        let sent = self.client.send_whole(request, time, most, withdrawn).await?;
        let reply = match sent {
            Ok(reply) => self.redactor.mask_reply(reply),
            Err(error) => {
                let SendError { class, detail, .. } = error;
                let detail = self.redactor.text(&detail).into_owned();
                return Some(Err(FailedCall {
                    place: Some(place),
                    class,
                    detail,
                    is_final: false,
                }));
            }
        };
        if reply.truncated {
            return Some(Err(FailedCall::cut_off(place, &reply, most)));
        }
        self.bytes_left = self.bytes_left.saturating_sub(reply.body.len());
        self.keep_room(room, reply.body.len());
        Some(Ok(AnsweredCall { place, headers, reply }))
    }
}

impl AttemptCalls<'_> {
    /// Waits for room for an answer. Attempts may wait for each other, but none waits longer than its
    /// own time.
    async fn take_room(&self, bytes: usize, time: Duration) -> Option<OwnedSemaphorePermit> {
        let taken = Arc::clone(&self.room).acquire_many_owned(kib(bytes));
        tokio::time::timeout(time, taken).await.ok()?.ok()
    }

    /// Keeps the room that an answer takes up, and gives back the rest.
    fn keep_room(&mut self, mut room: OwnedSemaphorePermit, bytes: usize) {
        self.held.extend(room.split(kib(bytes) as usize));
    }
}

/// Returns the number of KiB that hold this many bytes.
fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX)
}

impl FailedCall {
    /// Returns the failure of a request that was not made because other attempts' answers fill the
    /// memory that is set aside for them.
    fn crowded_out() -> Self {
        let detail = "the answers to other deliveries left no room for one more in time".to_owned();
        Self { place: None, class: ErrorClass::Timeout, detail, is_final: false }
    }

    /// Returns the failure of a request that was not made. What an operator can mend is tried again:
    /// a host or a secret that is not granted, and a secret that does not exist.
    fn refused(refusal: RequestRefusal) -> Self {
        let RequestRefusal { code, message, may_pass } = refusal;
        let may_be_mended = may_pass || code == "denied" || code == "unknown_secret";
        Self {
            place: None,
            class: ErrorClass::ModuleRequest,
            detail: format!("the module's request was not made: {code}: {message}"),
            is_final: !may_be_mended,
        }
    }

    fn cut_off(place: String, reply: &ClientReply, most: usize) -> Self {
        let status = reply.status;
        if reply.body.len() >= most {
            let detail = format!("answered {status} with more than {most} bytes");
            let class = ErrorClass::ModuleRequest;
            return Self { place: Some(place), class, detail, is_final: true };
        }
        let detail = format!("answered {status}, and the answer broke off");
        Self { place: Some(place), class: ErrorClass::ConnectionLost, detail, is_final: false }
    }
}

/// Returns the headers of a request for the record of the attempt.
fn shown_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let show = |(name, value): (&HeaderName, &http::HeaderValue)| {
        let is_hidden = value.is_sensitive() || is_credential(name);
        let text = String::from_utf8_lossy(value.as_bytes());
        (name.as_str().to_owned(), if is_hidden { MASK.to_owned() } else { text.into_owned() })
    };
    headers.iter().map(show).collect()
}

/// Whether a header carries credentials, judged by its name.
pub fn is_credential(name: &HeaderName) -> bool {
    // It is no secret, and the way in which a receiver recognises a repeat.
    name.as_str() != "idempotency-key"
        && CREDENTIALS.iter().any(|part| name.as_str().contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn credentials_of_a_request_are_not_shown() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("x-api-key", "k"), ("authorization", "a"), ("idempotency-key", "dlv_1"), ("x-a", "1")]
        {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut filled = HeaderValue::from_static("s");
        filled.set_sensitive(true);
        headers.insert(HeaderName::from_static("x-own"), filled);
        let mut shown = shown_headers(&headers);
        shown.sort();
        let texts: Vec<&str> = shown.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(texts, [MASK, "dlv_1", "1", MASK, MASK]);
    }

    #[test]
    fn only_what_nobody_can_mend_is_final() {
        for (refusal, is_final) in [
            (RequestRefusal::permanent("denied", "x"), false),
            (RequestRefusal::permanent("unknown_secret", "x"), false),
            (RequestRefusal::passing("unavailable", "x"), false),
            (RequestRefusal::permanent("invalid", "x"), true),
            (RequestRefusal::permanent("limit", "x"), true),
        ] {
            let failed = FailedCall::refused(refusal);
            assert_eq!((failed.is_final, failed.class), (is_final, ErrorClass::ModuleRequest));
        }
    }
}
