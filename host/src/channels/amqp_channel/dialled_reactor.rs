//! The runtime for lapin: tokio without dialling. lapin's own TLS would bring 26 more crates, and
//! its dialling would not check addresses, so lapin gets connections that are already open.

use crate::channels::pipe::ByteStream;
use async_compat::Compat;
use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_util::Stream;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A connection in the form that lapin uses.
pub type DialledStream = Compat<Box<dyn ByteStream>>;

/// The timers of tokio without its sockets.
#[derive(Debug, Clone)]
pub struct DialledReactor(Tokio);

/// Returns the runtime for lapin, on the current tokio runtime.
pub fn current_runtime() -> Runtime<RuntimeParts<Tokio, DialledReactor>> {
    let tokio = Tokio::current();
    Runtime::new(RuntimeParts::new(tokio.clone(), DialledReactor(tokio)))
}

fn refuse() -> io::Result<DialledStream> {
    Err(io::Error::other("connections are only opened to checked addresses"))
}

impl Reactor for DialledReactor {
    type TcpStream = DialledStream;
    type Sleep = <Tokio as Reactor>::Sleep;

    #[expect(
        refining_impl_trait,
        reason = "it never creates a stream, so the type does not matter"
    )]
    fn register<H: Read + Write + Send + 'static>(&self, _socket: H) -> io::Result<DialledStream> {
        refuse()
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        _address: SocketAddr,
    ) -> impl Future<Output = io::Result<DialledStream>> + Send + 'static {
        std::future::ready(refuse())
    }
}
