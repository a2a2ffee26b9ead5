//! Routes sqlx to a database at a checked address.
//!
//! sqlx dials by itself and takes the name for the certificate from the host that it dials. It
//! normally gets a checked address in place of the host name. If the certificate must be verified
//! against the name, sqlx gets the name and a socket of this process instead, which is bridged to a
//! connection that was dialled with the check.

use super::super::pipe::ServerPlace;
use super::super::publish::PublishError;
use super::super::session::OwnedTask;
use crate::net::address_policy::literal_address;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::DeliveryClient;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixListener};

/// The place that sqlx connects to.
#[derive(Debug)]
pub enum DatabaseRoute {
    /// An address that deliveries may go to.
    Address(SocketAddr),
    /// A socket in a folder of its own that leads to the database.
    Bridge(SocketBridge),
}

/// A socket that accepts one connection and forwards its bytes.
#[derive(Debug)]
pub struct SocketBridge {
    folder: TempDir,
    /// The file of the socket.
    pub file: PathBuf,
    _task: OwnedTask,
}

impl SocketBridge {
    /// Returns the folder of the socket, which only this user may enter.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

impl DatabaseRoute {
    /// Finds an address, or builds a bridge if the certificate must be verified against the host's
    /// name.
    pub async fn find(
        client: &DeliveryClient,
        place: &ServerPlace,
        verifies_name: bool,
    ) -> Result<Self, PublishError> {
        if verifies_name && literal_address(&place.host).is_none() {
            let stream = client.dial(&place.host, place.port).await?;
            let unusable = |why| {
                PublishError::new(ErrorClass::Connect, format!("cannot create a socket: {why}"))
            };
            return Ok(Self::Bridge(build_bridge(stream, place.port).map_err(unusable)?));
        }
        let addresses = client.find_addresses(&place.host, place.port).await?;
        let first = addresses.first().copied();
        let none = || PublishError::new(ErrorClass::Dns, "the host has no address");
        Ok(Self::Address(first.ok_or_else(none)?))
    }
}

/// Creates a socket under the name that PostgreSQL's clients expect in its folder.
fn build_bridge(mut stream: TcpStream, port: u16) -> io::Result<SocketBridge> {
    let folder = TempDir::with_prefix("waybill-")?;
    let file = folder.path().join(format!(".s.PGSQL.{port}"));
    let listener = UnixListener::bind(&file)?;
    let task = OwnedTask::spawn(async move {
        let Ok((mut near, _)) = listener.accept().await else { return };
        drop(listener);
        // When either end breaks, the other ends too, and the database's client reports it.
        drop(tokio::io::copy_bidirectional(&mut near, &mut stream).await);
    });
    Ok(SocketBridge { folder, file, _task: task })
}
