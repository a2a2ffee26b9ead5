//! Opens TCP connections, only to allowed addresses.
//!
//! Every connection is checked here at the moment it is dialled. A literal address is checked
//! first, because the connector does not pass it to a resolver. The addresses of a name are
//! filtered by the resolver, and the connector dials only the remaining ones.

use super::dns::NameResolver;
use crate::net::address_policy::{AddressPolicy, ForbiddenAddress, literal_address};
use futures_util::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;
use tokio::net::TcpStream;
use tower_service::Service;

/// Longest time for all addresses of a host together to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time without traffic after which the system probes whether the other side still exists.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Longest time for which sent data may stay unacknowledged before the system closes the
/// connection. Linux's default is about 15 minutes (`tcp_retries2`).
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// The reason why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The host only has addresses that deliveries must not go to.
    #[error(transparent)]
    Forbidden(#[from] ForbiddenAddress),
    /// The host's name cannot be resolved.
    #[error("the name `{name}` could not be resolved: {why}")]
    Dns {
        name: String,
        /// The resolver's error.
        why: Arc<str>,
    },
    /// The host has no addresses.
    #[error("the name `{0}` has no addresses")]
    NoAddress(String),
    /// No address accepted the connection.
    #[error("no connection: {0}")]
    Tcp(String),
}

/// Opens TCP connections to the addresses that the policy allows.
#[derive(Debug, Clone)]
pub struct GuardedDialler {
    tcp: HttpConnector<FilteredResolver>,
    policy: AddressPolicy,
    names: NameResolver,
}

impl GuardedDialler {
    pub fn new(policy: AddressPolicy, names: NameResolver) -> Self {
        let resolver = FilteredResolver { names: names.clone(), policy: policy.clone() };
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(KEEPALIVE));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        Self { tcp, policy, names }
    }
}

impl Service<Uri> for GuardedDialler {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Self::Response, DialError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        self.tcp.poll_ready(cx).map_err(|error| dial_error(&error))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        if let Err(forbidden) = self.policy.check_host(uri.host().unwrap_or_default()) {
            return Box::pin(async move { Err(forbidden.into()) });
        }
        let connecting = self.tcp.call(uri);
        Box::pin(async move { connecting.await.map_err(|error| dial_error(&error)) })
    }
}

/// Returns the addresses of a host that may be dialled, at least one.
pub async fn dial_addresses(
    dialler: &GuardedDialler,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, DialError> {
    let found: Vec<IpAddr> = match literal_address(host) {
        Some(address) => vec![address],
        None => match dialler.names.resolve(host).await {
            Ok(found) => found.to_vec(),
            Err(why) => return Err(DialError::Dns { name: host.to_owned(), why }),
        },
    };
    let addresses = found.iter().map(|address| SocketAddr::new(*address, port));
    permitted(&dialler.policy, addresses, host.to_owned())
}

/// Finds the resolver's own error among the causes of the connector's error. Otherwise describes
/// the connector's error.
fn dial_error(error: &(dyn StdError + 'static)) -> DialError {
    let mut words = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(known) = cause.downcast_ref::<DialError>() {
            return known.restated();
        }
        words.push(cause.to_string());
        next = cause.source();
    }
    DialError::Tcp(words.join(": "))
}

impl DialError {
    /// Returns a copy of the error, which the connector only lends.
    fn restated(&self) -> Self {
        match self {
            Self::Forbidden(forbidden) => Self::Forbidden(*forbidden),
            Self::Dns { name, why } => Self::Dns { name: name.clone(), why: Arc::clone(why) },
            Self::NoAddress(name) => Self::NoAddress(name.clone()),
            Self::Tcp(words) => Self::Tcp(words.clone()),
        }
    }
}

/// A resolver that removes addresses that must not be dialled.
#[derive(Debug, Clone)]
struct FilteredResolver {
    names: NameResolver,
    policy: AddressPolicy,
}

impl Service<Name> for FilteredResolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Self::Response, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (policy, names) = (self.policy.clone(), self.names.clone());
        let text = name.as_str().to_owned();
        Box::pin(async move {
            match names.resolve(&text).await {
                Ok(found) => {
                    // The connector sets the port.
                    let addresses = found.iter().map(|address| SocketAddr::new(*address, 0));
                    permitted(&policy, addresses, text).map(Vec::into_iter)
                }
                Err(why) => Err(DialError::Dns { name: text, why }),
            }
        })
    }
}

/// Returns the addresses that may be dialled. Fails if there are none.
fn permitted(
    policy: &AddressPolicy,
    addresses: impl Iterator<Item = SocketAddr>,
    name: String,
) -> Result<Vec<SocketAddr>, DialError> {
    let mut forbidden = None;
    let mut permitted = Vec::new();
    for address in addresses {
        match policy.check(address.ip()) {
            Ok(()) => permitted.push(address),
            Err(why) => forbidden = Some(why),
        }
    }
    match forbidden {
        _ if !permitted.is_empty() => Ok(permitted),
        Some(forbidden) => Err(forbidden.into()),
        None => Err(DialError::NoAddress(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect()
    }

    fn filtered(list: &[&str]) -> Result<Vec<SocketAddr>, DialError> {
        permitted(&AddressPolicy::default(), addresses(list).into_iter(), "name".to_owned())
    }

    #[test]
    fn only_permitted_addresses_of_a_name_are_dialled() {
        let left = filtered(&["10.0.0.1", "1.1.1.1", "::1", "2606:4700::1111"]).unwrap();
        assert_eq!(left, addresses(&["1.1.1.1", "2606:4700::1111"]));
        assert!(matches!(
            filtered(&["10.0.0.1", "::ffff:127.0.0.1"]),
            Err(DialError::Forbidden(_))
        ));
        assert!(matches!(filtered(&[]), Err(DialError::NoAddress(_))));
    }
}
