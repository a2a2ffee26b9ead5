//! An attempt at an endpoint of kind `api`: a request of one of its operations.
//!
//! If an earlier attempt may have reached the API, and the operation has a question for that case,
//! the question is sent first
//! ([`ApiOperation::render_again`](crate::channels::api_channel::ApiOperation)). If the record
//! already exists, it counts as the answer and nothing is sent. If the question gets no usable
//! answer, nothing is sent and the attempt fails.

use super::api_answer::{ApiAnswer, find_text, judge_answer_status};
use super::api_request::{PreparedCall, prepare_call, record_call};
use super::attempt::{DeliveryParcel, MadeAttempt, MadeExchange, finish_attempt};
use super::authorized::{AuthorizedReply, send_authorized};
use super::exchange_record::{TOKEN_NOTE, add_note, record_reply_headers};
use super::judge::{AttemptAnswer, RetryRound};
use crate::channels::ChannelOutcome;
use crate::channels::api_channel::ApiOperations;
use crate::json::storable::make_storable;
use crate::model::private_values::mask_url;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::{ClientReply, ClientRequest, DeliveryClient, SendError};
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::time::timestamp::Timestamp;
use futures_util::future::BoxFuture;
use http::StatusCode;
use std::time::Duration;
use tokio::time::Instant;

/// The record's member for the question whether an earlier attempt succeeded.
const AGAIN_NOTE: &str = "(again)";
/// The record's member for the event of the answer.
const REPLY_NOTE: &str = "(reply)";

/// Makes one attempt. Returns nothing if `withdrawn` ended before the attempt began.
#[expect(clippy::too_many_arguments, reason = "the same as of an attempt of a webhook")]
pub async fn make_api_attempt(
    client: &DeliveryClient,
    target: &EndpointRuntime,
    operations: &ApiOperations,
    parcel: DeliveryParcel<'_>,
    round: RetryRound,
    at: Timestamp,
    random: f64,
    withdrawn: BoxFuture<'_, ()>,
) -> Option<MadeAttempt> {
    let number = parcel.number;
    let call = match prepare_call(target, operations, parcel) {
        Ok(call) => call,
        Err(why) => {
            return Some(finish_attempt(target, number, round, at, random, why.exchange()));
        }
    };
    let (operation, hops, started) = (call.operation, call.hops, Instant::now());
    let exchange = ApiExchange { client, target, started, wall: parcel.signed_at };
    let MadeCall { sent, mut record, repeated } = exchange.make_call(call, withdrawn).await?;
    let endpoint = target.endpoint.settings.name.as_str();
    let answer = ApiAnswer { operation, endpoint, delivery: parcel.id, hops, repeated };
    let event = match &sent {
        Ok(reply) => answer.make_event(reply).unwrap_or_else(|why| {
            record = add_note(std::mem::take(&mut record), REPLY_NOTE, &why);
            None
        }),
        Err(_) => None,
    };
    let made = record_exchange(sent, record, at, started.elapsed());
    let made = finish_attempt(target, number, round, at, random, made);
    Some(MadeAttempt { answer: event.map(Box::new), ..made })
}

/// The answer to whether an earlier attempt succeeded.
enum EarlierAttempt {
    /// It succeeded. Holds the reply and the id that the API stores.
    Done {
        reply: ClientReply,
        id: String,
    },
    NotDone,
    /// Unknown, so nothing is sent.
    Unknown(SendError),
}

struct ApiExchange<'a> {
    client: &'a DeliveryClient,
    target: &'a EndpointRuntime,
    started: Instant,
    wall: Timestamp,
}

/// The result of the requests of an attempt.
struct MadeCall {
    sent: Result<ClientReply, SendError>,
    /// The record of the request: a JSON object.
    record: String,
    /// The id that the API already stores, if an earlier attempt succeeded.
    repeated: Option<String>,
}

impl ApiExchange<'_> {
    async fn make_call(
        &self,
        call: PreparedCall<'_>,
        mut withdrawn: BoxFuture<'_, ()>,
    ) -> Option<MadeCall> {
        let mut record = record_call(&call.request, self.target);
        let asked = match call.again {
            Some((question, found)) => {
                self.ask_again(question, found, &mut record, &mut withdrawn).await?
            }
            None => EarlierAttempt::NotDone,
        };
        let (sent, repeated) = match asked {
            EarlierAttempt::Done { reply, id } => (Ok(reply), Some(id)),
            EarlierAttempt::Unknown(error) => (Err(error), None),
            EarlierAttempt::NotDone => {
                (self.send_request(call.request, &mut record, withdrawn).await?, None)
            }
        };
        Some(MadeCall { sent, record, repeated })
    }

    async fn send_request(
        &self,
        request: ClientRequest,
        record: &mut String,
        withdrawn: impl Future<Output = ()> + Send,
    ) -> Option<Result<ClientReply, SendError>> {
        let Self { client, target, wall, .. } = *self;
        let left = target.timeout.saturating_sub(self.started.elapsed());
        let reply = match &target.access {
            None => {
                let sent = client.send(request, left, withdrawn).await?;
                AuthorizedReply { sent, fetched: Vec::new() }
            }
            Some(access) => {
                send_authorized(client, target, access, request, left, wall, withdrawn).await?
            }
        };
        for fetched in &reply.fetched {
            *record = add_note(std::mem::take(record), TOKEN_NOTE, fetched);
        }
        Some(reply.sent.map(|reply| target.redactor.mask_reply(reply)))
    }

    /// Asks the API whether an earlier attempt succeeded.
    async fn ask_again(
        &self,
        question: ClientRequest,
        found: &str,
        record: &mut String,
        withdrawn: &mut BoxFuture<'_, ()>,
    ) -> Option<EarlierAttempt> {
        let url = mask_url(&question.uri.to_string());
        let asked = match self.send_request(question, record, withdrawn).await? {
            Ok(reply) => read_question(reply, found),
            Err(error) => EarlierAttempt::Unknown(error),
        };
        let said = match &asked {
            EarlierAttempt::Done { .. } => "an earlier attempt succeeded",
            EarlierAttempt::NotDone => "not done yet",
            EarlierAttempt::Unknown(_) => "no answer, so nothing is sent",
        };
        *record = add_note(std::mem::take(record), AGAIN_NOTE, &format!("GET {url}: {said}"));
        Some(asked)
    }
}

/// Reads the answer to the question. A 404 means that the record does not exist; some APIs answer
/// so for an empty list.
fn read_question(reply: ClientReply, found: &str) -> EarlierAttempt {
    let status = reply.status;
    if status.is_success() && !reply.truncated {
        return match find_text(&reply.body, found) {
            Some(id) => EarlierAttempt::Done { reply, id },
            None => EarlierAttempt::NotDone,
        };
    }
    if status == StatusCode::NOT_FOUND {
        return EarlierAttempt::NotDone;
    }
    let class = ErrorClass::of_status(status).unwrap_or(ErrorClass::Protocol);
    let why = if reply.truncated { "with more than 16 KiB" } else { "" };
    let detail =
        format!("cannot tell whether an earlier attempt succeeded: answered {status} {why}");
    let (detail, duration) = (detail.trim_end().to_owned(), reply.duration);
    EarlierAttempt::Unknown(SendError { class, detail, duration })
}

fn record_exchange(
    sent: Result<ClientReply, SendError>,
    request_headers: String,
    at: Timestamp,
    duration: Duration,
) -> MadeExchange {
    match sent {
        Ok(reply) => {
            let outcome = judge_answer_status(reply.status, &reply.headers, at.after(duration));
            let failed = outcome != ChannelOutcome::Delivered;
            MadeExchange {
                answer: AttemptAnswer::Channel(outcome),
                duration,
                status: Some(reply.status.as_u16()),
                error: failed.then(|| format!("answered {}", reply.status)),
                request_headers,
                response_headers: Some(record_reply_headers(&reply.headers)),
                response_body: Some(reply.body),
            }
        }
        Err(error) => MadeExchange {
            answer: AttemptAnswer::Failed(error.class),
            duration,
            status: None,
            error: Some(make_storable(error.detail)),
            request_headers,
            response_headers: None,
            response_body: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::HeaderMap;

    fn asked(status: u16, body: &'static str) -> EarlierAttempt {
        let reply = ClientReply {
            status: StatusCode::from_u16(status).unwrap(),
            version: http::Version::HTTP_11,
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
            truncated: false,
            duration: Duration::ZERO,
        };
        read_question(reply, "/data/0/id")
    }

    #[test]
    fn only_an_answer_says_that_something_is_not_done() {
        for (status, body) in [(200, r#"{"data":[]}"#), (404, "no data were found"), (204, "")] {
            assert!(matches!(asked(status, body), EarlierAttempt::NotDone), "{status} {body}");
        }
        let EarlierAttempt::Done { id, .. } = asked(200, r#"{"data":[{"id":17}]}"#) else {
            panic!("it is there");
        };
        assert_eq!(id, "17");
        for status in [301, 401, 429, 500, 503] {
            assert!(matches!(asked(status, "{}"), EarlierAttempt::Unknown(_)), "{status}");
        }
    }
}
