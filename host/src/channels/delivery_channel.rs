//! One attempt at a delivery by a channel, and what came of it.

use crate::model::envelope::{EnvelopeMessage, RenderedBody};
use crate::net::error_class::ErrorClass;
use crate::net::http_client::{DeliveryClient, SendError};
use crate::time::timestamp::Timestamp;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use std::fmt::Debug;
use std::time::Duration;

/// Makes the deliveries of one endpoint. One is made from the settings of the endpoint, and used
/// until they change.
pub trait DeliveryChannel: Debug + Send + Sync {
    /// Makes one attempt, in the time-out of the call. It returns `None` where `withdrawn` ended
    /// before anything was sent that could have an effect.
    fn deliver<'a>(&'a self, call: ChannelCall<'a>) -> BoxFuture<'a, Option<ChannelReply>>;

    /// What a first attempt would send, for a dry run. An error says why nothing would be sent.
    fn preview(
        &self,
        message: &EnvelopeMessage<'_>,
        body: Option<RenderedBody>,
    ) -> Result<RenderedBody, String>;
}

/// What an attempt is made with.
pub struct ChannelCall<'a> {
    /// Reaches the network, to addresses that deliveries may go to, and says whose certificates are
    /// trusted.
    pub client: &'a DeliveryClient,
    /// What the delivery says. `delivery_id` is the same at every attempt.
    pub message: EnvelopeMessage<'a>,
    /// The envelope, for kinds that send one.
    pub body: Option<RenderedBody>,
    /// The number of the attempt: 1, 2, …
    pub number: i32,
    /// When the attempt began.
    pub at: Timestamp,
    /// How long it may take in all.
    pub timeout: Duration,
    /// Ends when the delivery must not begin any more. Drop it when it begins.
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

/// What an attempt means for its delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelOutcome {
    /// The receiver has it.
    Delivered,
    /// It failed, and is tried again on the schedule.
    Again {
        class: ErrorClass,
        /// The wait that the receiver asked for; obeyed where it is later than the schedule.
        after: Option<Duration>,
    },
    /// The receiver asks for time, for the whole endpoint. No step of the schedule is used up.
    HeldBack {
        class: ErrorClass,
        /// How long, if it says so.
        asked: Option<Duration>,
    },
    /// The receiver refuses this message for good: it becomes a dead letter.
    Dead { class: ErrorClass },
}

/// What came of an attempt.
#[derive(Debug)]
pub struct ChannelReply {
    /// What it means for the delivery.
    pub outcome: ChannelOutcome,
    /// The status of the answer, if it has one: of HTTP or SMTP, 100 to 999.
    pub status: Option<u16>,
    /// What the trace shows of the request, as names and values without secrets.
    pub request: Vec<(&'static str, String)>,
    /// The headers of the answer, if it has some.
    pub headers: Option<HeaderMap>,
    /// What the receiver answered, at most 16 KiB of it.
    pub answer: Option<Bytes>,
    /// Whether there is more of the answer than that.
    pub truncated: bool,
    /// Why it failed, in a sentence without secrets.
    pub error: Option<String>,
    /// From the start of the sending to the end of the reading.
    pub duration: Duration,
}

impl ChannelReply {
    /// A delivery that was made.
    pub const fn delivered(duration: Duration) -> Self {
        Self {
            outcome: ChannelOutcome::Delivered,
            status: None,
            request: Vec::new(),
            headers: None,
            answer: None,
            truncated: false,
            error: None,
            duration,
        }
    }

    /// An attempt that failed; the detail is a sentence without secrets.
    pub fn failed(outcome: ChannelOutcome, detail: String, duration: Duration) -> Self {
        Self { outcome, error: Some(detail), ..Self::delivered(duration) }
    }

    /// A receiver that was not reached, or did not answer.
    pub fn unreached(error: SendError) -> Self {
        let outcome = ChannelOutcome::Again { class: error.class, after: None };
        Self::failed(outcome, error.detail, error.duration)
    }

    /// The same reply, with what the trace shows of the request.
    #[must_use]
    pub fn with_request(mut self, request: Vec<(&'static str, String)>) -> Self {
        self.request = request;
        self
    }
}
