//! Classifies the errors that an attempt can end with.

use http::StatusCode;

/// The cause of a failed attempt, for operators and statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// No status arrived within the endpoint's time-out.
    Timeout,
    /// The connection was refused, or there was no route to the receiver.
    Connect,
    /// The connection broke before a status arrived. The receiver may have got the delivery.
    ConnectionLost,
    /// The host's name could not be resolved.
    Dns,
    /// The TLS handshake failed because of the certificate, the name or the version.
    Tls,
    /// The host has no address that deliveries may go to.
    AddressForbidden,
    /// A status 3xx. Redirects are not followed.
    Redirect,
    /// A status 4xx.
    ClientError,
    /// A status 5xx.
    ServerError,
    /// The token server issued no token, so the delivery was not sent.
    Auth,
    /// The endpoint's templates could not make a request from the event.
    Template,
    /// The reply is not valid HTTP, or has a status that no final reply may have.
    Protocol,
    /// The receiver does not accept the delivery now but may later, such as a 4xx of SMTP.
    Deferred,
    /// The receiver refuses this delivery for good, such as a 5xx of SMTP.
    Rejected,
    /// The module of the endpoint trapped.
    ModuleTrap,
    /// The module of the endpoint took too long.
    ModuleTimeout,
    /// The module of the endpoint wanted more memory than it may have.
    ModuleMemory,
    /// The module of the endpoint returned something unusable or too much.
    ModuleOutput,
    /// The host could not run the module of the endpoint.
    ModuleFailure,
    /// The module of the endpoint asked for a request that it may not make.
    ModuleRequest,
}

impl ErrorClass {
    /// The classes with a counter of their own in the metrics of endpoints.
    pub const ALL: [Self; 20] = [
        Self::Timeout,
        Self::Connect,
        Self::ConnectionLost,
        Self::Dns,
        Self::Tls,
        Self::AddressForbidden,
        Self::Redirect,
        Self::ClientError,
        Self::ServerError,
        Self::Auth,
        Self::Template,
        Self::Protocol,
        Self::Deferred,
        Self::Rejected,
        Self::ModuleTrap,
        Self::ModuleTimeout,
        Self::ModuleMemory,
        Self::ModuleOutput,
        Self::ModuleFailure,
        Self::ModuleRequest,
    ];

    /// Returns the name of the class, as in JSON.
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
            Self::ModuleTrap => "module_trap",
            Self::ModuleTimeout => "module_timeout",
            Self::ModuleMemory => "module_memory",
            Self::ModuleOutput => "module_output",
            Self::ModuleFailure => "module_failure",
            Self::ModuleRequest => "module_request",
        }
    }

    /// Returns whether the module of the endpoint failed, and not its receiver.
    pub const fn is_of_module(self) -> bool {
        match self {
            Self::ModuleTrap
            | Self::ModuleTimeout
            | Self::ModuleMemory
            | Self::ModuleOutput
            | Self::ModuleFailure
            | Self::ModuleRequest => true,
            Self::Timeout
            | Self::Connect
            | Self::ConnectionLost
            | Self::Dns
            | Self::Tls
            | Self::AddressForbidden
            | Self::Redirect
            | Self::ClientError
            | Self::ServerError
            | Self::Auth
            | Self::Template
            | Self::Protocol
            | Self::Deferred
            | Self::Rejected => false,
        }
    }

    /// Returns the class of a reply's status, or `None` for a success.
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
