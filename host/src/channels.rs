//! Kinds of endpoints: to what system a delivery goes, and how it is made there.
//!
//! Each kind is a type that implements [`ChannelKind`] in a file of its own, and a line of
//! [`CHANNELS`]. The REST interface, the command line, `apply` and the documentation are made from
//! that list. A kind parses the `settings` of an endpoint once, when the settings of the server are
//! loaded, and gives a [`DeliveryChannel`], which makes deliveries from then on.
//!
//! Lanes, retries, dead letters, field maps, ordering and rate limits are not the business of a
//! kind: it makes one attempt and says what came of it ([`ChannelReply`]).

pub mod channel_kind;
pub mod delivery_channel;
pub mod settings_check;

mod webhook_channel;

pub use channel_kind::{EndpointChannel, RegisteredChannel};
pub use delivery_channel::{ChannelCall, ChannelOutcome, ChannelReply, DeliveryChannel};

/// Every kind, in the order in which they are listed.
pub static CHANNELS: [RegisteredChannel; 1] =
    [RegisteredChannel::of::<webhook_channel::WebhookChannel>()];

/// The kind of a name.
pub fn find_channel(kind: &str) -> Option<&'static RegisteredChannel> {
    CHANNELS.iter().find(|channel| channel.description.kind == kind)
}
