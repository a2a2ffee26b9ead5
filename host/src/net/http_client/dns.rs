//! Resolves host names without a thread for each.
//!
//! The system's resolver (`getaddrinfo`) blocks a thread for as long as a name server is silent, so
//! a few names that do not resolve delay all others. This resolver is asynchronous (hickory) and
//! bounded: every lookup ends after [`LOOKUP`], concurrent callers for one name share one lookup,
//! and at most [`AT_ONCE`] names are looked up at the same time. As in the system's resolver,
//! `/etc/hosts` takes precedence. `/etc/hosts` and `/etc/resolv.conf` are read again when they
//! change.
//!
//! A resolved address is not yet allowed. The dialler checks each address at every connection.

use futures_util::FutureExt as _;
use futures_util::future::Shared;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::read_system_conf;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

/// Longest time for the lookup of one name.
const LOOKUP: Duration = Duration::from_secs(8);
/// Longest time for one answer of one name server.
const ANSWER: Duration = Duration::from_secs(3);
/// Most names that are looked up at the same time.
const AT_ONCE: usize = 256;
/// Most answers in the cache. Each stays for its own lifetime, bounded by the two constants below.
const KEPT: u64 = 1_024;
/// Longest time that an answer is cached.
const KEPT_FOR: Duration = Duration::from_mins(5);
/// Longest time that a missing name is cached. It is short, because somebody may be adding the
/// name.
const MISSING_FOR: Duration = Duration::from_secs(10);
/// Interval at which the system's files are checked for changes.
const LOOK: Duration = Duration::from_secs(5);
/// The files that configure the resolution of names.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// The result of a lookup: addresses, or why there are none.
pub type LookupResult = Result<Arc<[IpAddr]>, Arc<str>>;

/// Resolves names. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NameResolver(Arc<ResolverInner>);

struct ResolverInner {
    /// Name servers to use instead of the system's. Empty for the system's.
    name_servers: Vec<SocketAddr>,
    system: Mutex<Option<SystemResolver>>,
    lookups: Mutex<HashMap<String, Shared<oneshot::Receiver<LookupResult>>>>,
    places: Semaphore,
}

/// A resolver made from the system's files, with the times when they were changed.
struct SystemResolver {
    resolver: TokioResolver,
    files: [Option<SystemTime>; 2],
    looked: Instant,
}

impl std::fmt::Debug for ResolverInner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResolverInner")
            .field("name_servers", &self.name_servers)
            .finish_non_exhaustive()
    }
}

impl NameResolver {
    /// Makes a resolver that uses these name servers, or the system's if the list is empty.
    pub fn new(name_servers: Vec<SocketAddr>) -> Self {
        Self(Arc::new(ResolverInner {
            name_servers,
            system: Mutex::default(),
            lookups: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
        }))
    }

    /// Returns the addresses of a name. Other notations of an IPv4 address, such as `127.1`, are
    /// parsed as in URLs (WHATWG URL Standard, section 3.5) and never sent to a name server.
    pub async fn resolve(&self, name: &str) -> LookupResult {
        if let Ok(url::Host::Ipv4(address)) = url::Host::parse(name) {
            return Ok(Arc::new([IpAddr::V4(address)]));
        }
        let lookup = self.lookup(name);
        lookup.await.unwrap_or_else(|_ended| Err("the lookup was interrupted".into()))
    }

    /// Returns the running lookup of a name, or starts one. A lookup continues to its end even if
    /// nobody waits for it any more.
    fn lookup(&self, name: &str) -> Shared<oneshot::Receiver<LookupResult>> {
        let mut lookups = self.0.lock_lookups();
        if let Some(lookup) = lookups.get(name) {
            return lookup.clone();
        }
        let (found, lookup) = oneshot::channel();
        let lookup = lookup.shared();
        lookups.insert(name.to_owned(), lookup.clone());
        let (inner, name) = (Arc::clone(&self.0), name.to_owned());
        tokio::spawn(async move {
            let result = tokio::time::timeout(LOOKUP, inner.find_addresses(&name)).await;
            let silent = || format!("no name server answered within {} s", LOOKUP.as_secs());
            inner.lock_lookups().remove(&name);
            drop(found.send(result.unwrap_or_else(|_late| Err(silent().into()))));
        });
        lookup
    }
}

impl ResolverInner {
    fn lock_lookups(
        &self,
    ) -> MutexGuard<'_, HashMap<String, Shared<oneshot::Receiver<LookupResult>>>> {
        self.lookups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn find_addresses(&self, name: &str) -> LookupResult {
        let _place = self.places.acquire().await;
        let resolver = self.current_resolver().map_err(Arc::<str>::from)?;
        let found = resolver.lookup_ip(name).await.map_err(|why| Arc::from(why.to_string()))?;
        Ok(found.iter().collect())
    }

    /// Returns a resolver that matches the system's files.
    fn current_resolver(&self) -> Result<TokioResolver, String> {
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |known: &&mut SystemResolver| known.looked.elapsed() < LOOK;
        if let Some(known) = system.as_mut().filter(recent) {
            return Ok(known.resolver.clone());
        }
        let files = FILES.map(|file| std::fs::metadata(file).and_then(|m| m.modified()).ok());
        if let Some(known) = system.as_mut().filter(|known| known.files == files) {
            known.looked = Instant::now();
            return Ok(known.resolver.clone());
        }
        let resolver = self.build_resolver()?;
        *system =
            Some(SystemResolver { resolver: resolver.clone(), files, looked: Instant::now() });
        Ok(resolver)
    }

    fn build_resolver(&self) -> Result<TokioResolver, String> {
        let (config, options) = if self.name_servers.is_empty() {
            // The system does the same if the file is missing or names no server.
            let local = || asking(&[SocketAddr::from((Ipv4Addr::LOCALHOST, 53))]);
            read_system_conf().unwrap_or_else(|_missing| (local(), ResolverOpts::default()))
        } else {
            (asking(&self.name_servers), ResolverOpts::default())
        };
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = bounded(options);
        builder.build().map_err(|why| format!("the resolver cannot be set up: {why}"))
    }
}

/// Adds bounds on lookups and on the cache to the system's options.
fn bounded(mut options: ResolverOpts) -> ResolverOpts {
    options.timeout = options.timeout.min(ANSWER);
    options.attempts = options.attempts.min(2);
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = KEPT;
    options.positive_max_ttl = Some(KEPT_FOR);
    options.negative_max_ttl = Some(MISSING_FOR);
    options.max_active_requests = AT_ONCE * 2;
    options
}

fn asking(servers: &[SocketAddr]) -> ResolverConfig {
    let server = |address: &SocketAddr| {
        let mut config = NameServerConfig::udp_and_tcp(address.ip());
        config.connections.iter_mut().for_each(|one: &mut ConnectionConfig| {
            one.port = address.port();
        });
        config
    };
    ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UdpSocket;

    /// A name server that records its questions. It answers `known.test` with 127.0.0.1, says that
    /// `missing.test` does not exist, and does not answer anything else.
    async fn name_server() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (socket.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let book = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut packet = [0; 1_500];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                let (name, end) = question(&packet[..length]);
                let is_a = packet[end + 1] == 1;
                book.lock().unwrap().push(name.clone());
                let mut answer = packet[..end + 4].to_vec();
                // One question, no authority records and nothing more.
                answer[6..12].copy_from_slice(&[0; 6]);
                answer[2..4].copy_from_slice(&[0x81, 0x80]);
                match name.as_str() {
                    "known.test" if is_a => {
                        answer[7] = 1;
                        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
                    }
                    "known.test" => {}
                    "missing.test" => answer[3] = 0x83,
                    _ => continue,
                }
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        (address, asked)
    }

    /// Returns the name in a question, and the offset of its type.
    fn question(packet: &[u8]) -> (String, usize) {
        let (mut labels, mut at) = (Vec::new(), 12);
        while packet[at] > 0 {
            let end = at + 1 + usize::from(packet[at]);
            labels.push(String::from_utf8_lossy(&packet[at + 1..end]).to_lowercase());
            at = end;
        }
        (labels.join("."), at + 1)
    }

    #[tokio::test]
    async fn names_are_resolved_and_missing_ones_are_not() {
        let (server, _) = name_server().await;
        let resolver = NameResolver::new(vec![server]);
        let found = resolver.resolve("known.test").await.unwrap();
        assert_eq!(&found[..], [IpAddr::from([127, 0, 0, 1])]);
        assert!(resolver.resolve("missing.test").await.is_err());
    }

    #[tokio::test]
    async fn localhost_needs_no_name_server() {
        let (server, asked) = name_server().await;
        let found = NameResolver::new(vec![server]).resolve("localhost").await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
        assert_eq!(*asked.lock().unwrap(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn names_that_do_not_resolve_do_not_delay_others() {
        let (server, asked) = name_server().await;
        let resolver = NameResolver::new(vec![server]);
        let mut silent = tokio::task::JoinSet::new();
        for number in 0..1_000 {
            let resolver = resolver.clone();
            let name = format!("silent-{}.test", number % 8);
            silent.spawn(async move { resolver.resolve(&name).await });
        }
        assert!(resolver.resolve("known.test").await.is_ok());
        assert!(
            !silent.is_empty() && silent.try_join_next().is_none(),
            "all of them are still waiting"
        );
        silent.shutdown().await;
        let queries = asked.lock().unwrap().len();
        assert!(queries < 100, "{queries} queries: each name is asked for once, not once for each");
    }
}
