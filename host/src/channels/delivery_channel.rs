//! The interface of a channel: one attempt at a delivery, and its result.

use crate::model::envelope::{EnvelopeMessage, RenderedBody};
use crate::model::plan_effects::EmittedFact;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::permit::SendPermit;
use crate::net::http_client::{DeliveryClient, SendError};
use crate::time::timestamp::Timestamp;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use std::borrow::Cow;
use std::fmt::Debug;
use std::time::Duration;

/// Makes the deliveries of one endpoint. A channel is opened from the settings of its endpoint and
/// used until they change.
pub trait DeliveryChannel: Debug + Send + Sync {
    /// Makes one attempt within the time-out of the call. Returns `None` if `withdrawn` completed
    /// before anything was sent that could have an effect.
    fn deliver<'a>(&'a self, call: ChannelCall<'a>) -> BoxFuture<'a, Option<ChannelReply>>;

    /// Returns what a first attempt would send, for a dry run. The error says why nothing would be
    /// sent.
    fn preview(
        &self,
        message: &EnvelopeMessage<'_>,
        body: Option<RenderedBody>,
    ) -> Result<RenderedBody, String>;
}

/// The input of an attempt.
pub struct ChannelCall<'a> {
    /// Connects to addresses that deliveries may go to, and decides which certificates to trust.
    pub client: &'a DeliveryClient,
    /// The message to deliver. `delivery_id` is the same in every attempt.
    pub message: EnvelopeMessage<'a>,
    /// The rendered envelope, for kinds that send one.
    pub body: Option<RenderedBody>,
    /// The number of the attempt, from 1.
    pub number: i32,
    /// Time at which the attempt began.
    pub at: Timestamp,
    /// The time of day that signatures carry.
    pub signed_at: Timestamp,
    /// Longest time for the whole attempt.
    pub timeout: Duration,
    /// Checked before each request is written, for kinds that make several. `None` if the delivery
    /// has no lease.
    pub permit: Option<SendPermit>,
    /// Completes when the delivery must not begin any more. Drop it when the delivery begins.
    pub withdrawn: BoxFuture<'a, ()>,
}

impl Debug for ChannelCall<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChannelCall")
            .field("delivery", &self.message.delivery_id)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// The outcome of an attempt for its delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelOutcome {
    /// The receiver has accepted the delivery.
    Delivered,
    /// The attempt failed. The delivery is retried on the schedule.
    Again {
        class: ErrorClass,
        /// The wait that the receiver asked for. It is obeyed if it ends later than the schedule's.
        after: Option<Duration>,
    },
    /// The receiver asks for a wait, which holds back the whole endpoint. No step of the schedule
    /// is used up.
    HeldBack {
        class: ErrorClass,
        /// The wait, if the receiver names one.
        asked: Option<Duration>,
    },
    /// The receiver will never accept this message. The delivery becomes a dead letter.
    Dead { class: ErrorClass },
}

/// The result of an attempt, and what its record shows.
#[derive(Debug, Clone)]
pub struct ChannelReply {
    /// The outcome for the delivery.
    pub outcome: ChannelOutcome,
    /// The status code of the answer, of HTTP or SMTP, 100 to 999. `None` if the answer has none.
    pub status: Option<u16>,
    /// The request as the trace shows it: names and values, without secrets.
    pub request: Vec<(Cow<'static, str>, String)>,
    /// The headers of the answer. `None` if the answer has none.
    pub headers: Option<HeaderMap>,
    /// The receiver's answer, at most 16 KiB of it.
    pub answer: Option<Bytes>,
    /// Whether the answer was longer than that.
    pub truncated: bool,
    /// The name or id that the receiver gave to what it made of the delivery.
    pub receiver_id: Option<String>,
    /// Events that the endpoint's module emitted, to be committed with the attempt.
    pub emitted: Vec<EmittedFact>,
    /// The failure in one sentence, without secrets.
    pub error: Option<String>,
    /// The time from the start of sending to the end of reading.
    pub duration: Duration,
}

impl ChannelReply {
    /// Returns the reply of a successful delivery.
    pub const fn delivered(duration: Duration) -> Self {
        Self {
            outcome: ChannelOutcome::Delivered,
            status: None,
            request: Vec::new(),
            headers: None,
            answer: None,
            truncated: false,
            receiver_id: None,
            emitted: Vec::new(),
            error: None,
            duration,
        }
    }

    /// Returns the reply of a failed attempt. `detail` is a sentence without secrets.
    pub fn failed(outcome: ChannelOutcome, detail: String, duration: Duration) -> Self {
        Self { outcome, error: Some(detail), ..Self::delivered(duration) }
    }

    /// Returns the reply of an attempt whose receiver was not reached or did not answer.
    pub fn unreached(error: SendError) -> Self {
        let outcome = ChannelOutcome::Again { class: error.class, after: None };
        Self::failed(outcome, error.detail, error.duration)
    }

    /// Adds the request as the trace shows it.
    #[must_use]
    pub fn with_request(mut self, request: Vec<(&'static str, String)>) -> Self {
        self.request = request.into_iter().map(|(name, text)| (Cow::from(name), text)).collect();
        self
    }
}
