//! Opens connections for protocols other than HTTP, only to allowed addresses.

use super::dial::{GuardedDialler, dial_addresses};
use super::{DeliveryClient, SendError, failure};
use crate::net::error_class::ErrorClass;
use crate::net::tls_trust;
use http::Uri;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service as _;

/// Dials, and holds the TLS settings.
#[derive(Debug, Clone)]
pub struct RawConnector {
    pub dialler: GuardedDialler,
    pub tls: Arc<ClientConfig>,
}

impl DeliveryClient {
    /// Opens a TCP connection to a host, at one of its addresses that deliveries may go to. Takes
    /// at most 10 s.
    pub async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, SendError> {
        let started = Instant::now();
        let uri: Uri = match format!("http://{host}:{port}/").parse() {
            Ok(uri) => uri,
            Err(why) => {
                let detail = format!("`{host}` cannot be dialled: {why}");
                return Err(SendError {
                    class: ErrorClass::Protocol,
                    detail,
                    duration: Duration::ZERO,
                });
            }
        };
        let dialled = self.raw.dialler.clone().call(uri).await;
        dialled.map(hyper_util::rt::TokioIo::into_inner).map_err(|error| SendError {
            class: failure::class_of_dial(&error),
            detail: error.to_string(),
            duration: started.elapsed(),
        })
    }

    /// Returns the addresses of a host that deliveries may go to, at least one, for libraries that
    /// dial themselves. Pass them these addresses and not the name. Otherwise they would resolve
    /// the name again, to an address that was not checked.
    pub async fn find_addresses(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, SendError> {
        let started = Instant::now();
        dial_addresses(&self.raw.dialler, host, port).await.map_err(|error| SendError {
            class: failure::class_of_dial(&error),
            detail: error.to_string(),
            duration: started.elapsed(),
        })
    }

    /// Returns the TLS settings of deliveries: Mozilla's roots and those of `delivery.ca_file`.
    pub fn tls_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.raw.tls)
    }

    /// Starts TLS on a connection, and verifies that the certificate is valid for the host.
    pub async fn start_tls(
        &self,
        connection: TcpStream,
        host: &str,
    ) -> Result<TlsStream<TcpStream>, SendError> {
        let started = Instant::now();
        let failed = |why: String| SendError {
            class: ErrorClass::Tls,
            detail: format!("the TLS handshake failed: {why}"),
            duration: started.elapsed(),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(|why| failed(why.to_string()))?;
        let connector = TlsConnector::from(self.tls_config());
        connector.connect(name, connection).await.map_err(|error| failed(explain_tls(&error)))
    }
}

fn explain_tls(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let hint = cause.and_then(tls_trust::tls_hint).map(|hint| format!(" ({hint})"));
    format!("{error}{}", hint.unwrap_or_default())
}
