//! Publishes to message queues: the shared part of the kinds `amqp`, `kafka`, `mqtt` and `nats`.

use super::channel_kind::EndpointChannel;
use super::delivery_channel::{ChannelCall, ChannelReply, DeliveryChannel};
use super::place_template::PlaceTemplate;
use super::publish::{AttemptTime, PublishError, PublishOutcome, make_publish_attempt};
use super::session::{QueueSession, SessionKeeper};
use crate::model::envelope::{EnvelopeMessage, RenderedBody};
use crate::net::http_client::DeliveryClient;
use futures_util::future::BoxFuture;
use std::fmt::Debug;
use std::sync::Arc;

/// Error for a delivery without a rendered envelope, which is a dead letter.
const NO_BODY: &str = "the delivery has no body";

/// A queue, and how one message is published to it.
pub trait MessageQueue: Debug + Send + Sync + 'static {
    /// A logged-in connection, which all deliveries of an endpoint share.
    type Session: QueueSession + Debug + Send + Sync;

    /// The name of the setting that says where messages go, such as `subject`.
    const PLACE: &'static str;
    /// The property of a message that holds the delivery's id.
    const DELIVERY_ID: &'static str;

    /// Connects and logs in.
    fn connect(
        &self,
        client: &DeliveryClient,
    ) -> impl Future<Output = Result<Self::Session, PublishError>> + Send;

    /// Publishes a message and waits until the queue acknowledges it.
    fn publish(
        &self,
        session: &Self::Session,
        place: &str,
        message: &EnvelopeMessage<'_>,
        body: &RenderedBody,
    ) -> impl Future<Output = PublishOutcome> + Send;

    /// Returns the part of an attempt's trace before the place.
    fn trace(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// Publishes the deliveries of one endpoint.
#[derive(Debug)]
pub struct QueuePublisher<Q: MessageQueue> {
    queue: Q,
    place: PlaceTemplate,
    keeper: SessionKeeper<Q::Session>,
}

impl<Q: MessageQueue> QueuePublisher<Q> {
    /// Opens the channel of an endpoint. It connects at its first delivery.
    pub fn open(queue: Q, place: PlaceTemplate) -> EndpointChannel {
        EndpointChannel::Other(Arc::new(Self { queue, place, keeper: SessionKeeper::default() }))
    }
}

impl<Q: MessageQueue> DeliveryChannel for QueuePublisher<Q> {
    fn deliver<'a>(&'a self, call: ChannelCall<'a>) -> BoxFuture<'a, Option<ChannelReply>> {
        Box::pin(async move {
            let ChannelCall { client, message, body, timeout, withdrawn, .. } = call;
            let time = AttemptTime { limit: timeout, withdrawn };
            let place = self.place.render(&message);
            let mut trace = self.queue.trace();
            trace.push((Q::PLACE, place.clone().unwrap_or_default()));
            trace.push((Q::DELIVERY_ID, message.delivery_id.to_owned()));
            let opening = self.keeper.get_or_open(self.queue.connect(client));
            let reply = make_publish_attempt(time, opening, |session| async move {
                match (place, body) {
                    (Ok(place), Some(body)) => {
                        self.queue.publish(&session, &place, &message, &body).await
                    }
                    (Err(why), _) => {
                        PublishOutcome::dead(format!("the {} {why}", Q::PLACE.replace('_', " ")))
                    }
                    (Ok(_), None) => PublishOutcome::dead(NO_BODY),
                }
            });
            Some(reply.await?.with_request(trace))
        })
    }

    fn preview(
        &self,
        message: &EnvelopeMessage<'_>,
        body: Option<RenderedBody>,
    ) -> Result<RenderedBody, String> {
        self.place.render(message)?;
        body.ok_or_else(|| NO_BODY.to_owned())
    }
}
