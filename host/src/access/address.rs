//! Determines the address of a caller, also behind trusted proxies.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr};

/// Returns the caller's address: the peer's, or, if the peer is a trusted proxy, the rightmost
/// address in `X-Forwarded-For` that does not belong to a trusted proxy. Entries to the left of
/// that address are ignored because the caller could have made them up. IPv4-mapped IPv6 addresses
/// are returned as IPv4.
pub fn caller_address<'h>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'h str>,
    trusted: &[IpNet],
) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut caller = peer.to_canonical();
    for hop in forwarded.rev().flat_map(|line| line.rsplit(',')) {
        if !is_trusted(&caller) {
            break;
        }
        let Some(address) = parse_address(hop.trim()) else { break };
        caller = address;
    }
    caller
}

/// Returns the network under which calls of an address are counted: the address itself for IPv4,
/// its /64 for IPv6, because one household or server gets a /64 (RFC 6177).
pub fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
    }
}

/// Parses an address as proxies write it: bare, with a port, or in brackets.
fn parse_address(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address.or_else(with_port).or_else(bracketed).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        caller_address(peer.parse().unwrap(), forwarded.iter().copied(), &trusted).to_string()
    }

    #[test]
    fn the_header_of_an_untrusted_peer_is_ignored() {
        assert_eq!(seen("203.0.113.9", &["10.0.0.1"], &[]), "203.0.113.9");
        assert_eq!(seen("203.0.113.9", &["10.0.0.1"], &["127.0.0.0/8"]), "203.0.113.9");
    }

    #[test]
    fn the_rightmost_untrusted_address_is_the_caller() {
        let proxies = ["127.0.0.0/8", "10.0.0.0/8"];
        assert_eq!(
            seen("127.0.0.1", &["198.51.100.7, 203.0.113.9, 10.0.0.2"], &proxies),
            "203.0.113.9"
        );
        assert_eq!(seen("127.0.0.1", &["198.51.100.7", "203.0.113.9"], &proxies), "203.0.113.9");
        assert_eq!(seen("127.0.0.1", &[], &proxies), "127.0.0.1");
        assert_eq!(seen("127.0.0.1", &["rubbish"], &proxies), "127.0.0.1");
        assert_eq!(seen("127.0.0.1", &["203.0.113.9, rubbish, 10.0.0.2"], &proxies), "10.0.0.2");
        assert_eq!(seen("127.0.0.1", &["[2001:db8::7]:4711"], &proxies), "2001:db8::7");
    }

    #[test]
    fn ipv4_in_ipv6_is_ipv4() {
        assert_eq!(seen("::ffff:203.0.113.9", &[], &[]), "203.0.113.9");
        assert_eq!(
            seen("::ffff:127.0.0.1", &["::ffff:198.51.100.7"], &["127.0.0.0/8"]),
            "198.51.100.7"
        );
    }
}
