//! The classes of errors that an attempt can end with.

use http::StatusCode;

/// Why an attempt failed, for people and statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// No status came within the endpoint's time-out.
    Timeout,
    /// The connection was refused, or no route led there.
    Connect,
    /// The connection broke before a status came; the receiver may have got the delivery.
    ConnectionLost,
    /// The host's name could not be resolved.
    Dns,
    /// The TLS handshake failed: certificate, name or version.
    Tls,
    /// The host's addresses are none that deliveries may go to.
    AddressForbidden,
    /// A 3xx; redirects are not followed.
    Redirect,
    /// A 4xx.
    ClientError,
    /// A 5xx.
    ServerError,
    /// No token came from the token server, so the delivery was not sent.
    Auth,
    /// The request could not be made of the event by the endpoint's templates.
    Template,
    /// What came back is no HTTP, or a status no final answer has.
    Protocol,
    /// The receiver does not take it now and may later, such as a 4xx of SMTP.
    Deferred,
    /// The receiver refuses this message for good, such as a 5xx of SMTP.
    Rejected,
}

impl ErrorClass {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Timeout,
        Self::Connect,
        Self::ConnectionLost,
        Self::Dns,
        Self::Tls,
        Self::AddressForbidden,
        Self::Redirect,
        Self::ClientError,
        Self::ServerError,
        Self::Protocol,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::ConnectionLost => "connection_lost",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::AddressForbidden => "address_forbidden",
            Self::Redirect => "redirect",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Auth => "auth",
            Self::Template => "template",
            Self::Protocol => "protocol",
            Self::Deferred => "deferred",
            Self::Rejected => "rejected",
        }
    }

    /// The class of an answer's status; nothing for a success.
    pub fn of_status(status: StatusCode) -> Option<Self> {
        match status.as_u16() {
            200..=299 => None,
            300..=399 => Some(Self::Redirect),
            400..=499 => Some(Self::ClientError),
            500..=599 => Some(Self::ServerError),
            _ => Some(Self::Protocol),
        }
    }
}
