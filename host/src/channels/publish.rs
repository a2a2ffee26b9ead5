//! Attempts of the kinds that publish over a connection of their own.

use super::delivery_channel::{ChannelOutcome, ChannelReply};
use crate::net::error_class::ErrorClass;
use crate::net::http_client::SendError;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The receiver has stored the message.
    Delivered {
        /// The receiver's answer, for the record of the attempt.
        answer: String,
    },
    /// The receiver does not have the message, or its answer is unknown. Another attempt may
    /// succeed.
    TryAgain(PublishError),
    /// The receiver will never accept the message. The text says why, in a sentence without
    /// secrets.
    Dead(String),
}

impl PublishOutcome {
    /// Returns the outcome of a successful delivery with the receiver's answer.
    pub fn delivered(answer: impl Into<String>) -> Self {
        Self::Delivered { answer: answer.into() }
    }

    /// Returns the outcome of a delivery that the receiver would always refuse.
    pub fn dead(detail: impl fmt::Display) -> Self {
        Self::Dead(detail.to_string())
    }

    fn into_reply(self, duration: Duration) -> ChannelReply {
        match self {
            Self::Delivered { answer } => ChannelReply {
                answer: Some(Bytes::from(answer)),
                ..ChannelReply::delivered(duration)
            },
            Self::TryAgain(why) => {
                let outcome = ChannelOutcome::Again { class: why.class, after: None };
                ChannelReply::failed(outcome, why.detail, duration)
            }
            Self::Dead(detail) => {
                let outcome = ChannelOutcome::Dead { class: ErrorClass::Rejected };
                ChannelReply::failed(outcome, detail, duration)
            }
        }
    }
}

/// The failure of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct PublishError {
    /// The kind of failure.
    pub class: ErrorClass,
    /// The failure in a sentence, without secrets.
    pub detail: String,
}

impl PublishError {
    /// Returns a failure of a class.
    pub fn new(class: ErrorClass, detail: impl fmt::Display) -> Self {
        Self { class, detail: detail.to_string() }
    }

    /// Returns the failure of a connection that broke before the acknowledgement.
    pub fn lost(why: impl fmt::Display) -> Self {
        Self::new(ErrorClass::ConnectionLost, format!("the connection broke: {why}"))
    }

    /// Returns the failure of a receiver that does not follow its protocol.
    pub fn protocol(why: impl fmt::Display) -> Self {
        Self::new(ErrorClass::Protocol, why)
    }

    /// Returns the failure of a receiver that refuses now and may accept later.
    pub fn refused(why: impl fmt::Display) -> Self {
        Self::new(ErrorClass::Deferred, why)
    }

    /// Returns the failure of a missing acknowledgement.
    pub fn late() -> Self {
        Self::new(ErrorClass::Timeout, "no acknowledgement arrived within the time-out")
    }
}

impl From<SendError> for PublishError {
    fn from(error: SendError) -> Self {
        Self::new(error.class, error.detail)
    }
}

/// The time limits of an attempt.
pub struct AttemptTime<'a> {
    /// Longest time for the whole attempt.
    pub limit: Duration,
    /// Completes when the attempt must not begin any more.
    pub withdrawn: BoxFuture<'a, ()>,
}

impl fmt::Debug for AttemptTime<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptTime").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// Opens a session and publishes over it. Returns `None` if the delivery is withdrawn before the
/// session is open.
pub async fn make_publish_attempt<S, P>(
    time: AttemptTime<'_>,
    opening: impl Future<Output = Result<S, PublishError>> + Send,
    publish: impl FnOnce(S) -> P + Send,
) -> Option<ChannelReply>
where
    P: Future<Output = PublishOutcome> + Send,
{
    let AttemptTime { limit, withdrawn } = time;
    let started = Instant::now();
    let deadline = started + limit;
    let opened = tokio::select! {
        biased;
        () = withdrawn => return None,
        opened = timeout_at(deadline, opening) => opened,
    };
    let late = || PublishOutcome::TryAgain(PublishError::late());
    let outcome = match opened {
        Ok(Ok(session)) => timeout_at(deadline, publish(session)).await.unwrap_or_else(|_| late()),
        Ok(Err(why)) => PublishOutcome::TryAgain(why),
        Err(_) => late(),
    };
    Some(outcome.into_reply(started.elapsed()))
}
