//! Decides which addresses deliveries may go to.
//!
//! URLs come from users, so a delivery could be aimed at addresses that only this machine can
//! reach: itself, the private network, or a cloud's metadata service. [`AddressPolicy`] allows only
//! public addresses and addresses in networks that the configuration lists. It checks the address
//! that is about to be dialled, at every connection, so a name that resolves differently the second
//! time gains nothing.
//!
//! An address is not public if the IANA special-purpose address registries (RFC 6890) list it as
//! not globally reachable, or if it is multicast or reserved. An IPv6 address that carries an IPv4
//! address is judged by that IPv4 address. In ISATAP the network chooses the prefix, so both the
//! prefix and the IPv4 address must be public.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses that deliveries may go to: public ones, and those in the listed networks.
#[derive(Debug, Clone, Default)]
pub struct AddressPolicy {
    allowed: Vec<IpNet>,
}

/// An address that deliveries must not go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address} is {kind} address; deliveries go only to public addresses and to networks listed in `delivery.allow_networks`"
)]
pub struct ForbiddenAddress {
    pub address: IpAddr,
    /// The kind of address, with its article.
    pub kind: &'static str,
}

impl AddressPolicy {
    /// Makes a policy that allows these networks in addition to public addresses.
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Checks that deliveries may go to an address.
    pub fn check(&self, address: IpAddr) -> Result<(), ForbiddenAddress> {
        let effective = effective(address);
        let allowed = |net: &IpNet| net.contains(&address) || net.contains(&effective);
        match special_kind(effective) {
            Some(kind) if !self.allowed.iter().any(allowed) => {
                Err(ForbiddenAddress { address, kind })
            }
            _ => Ok(()),
        }
    }

    /// Checks a URL's host if it is a literal address. A name is checked when it is resolved.
    pub fn check_host(&self, host: &str) -> Result<(), ForbiddenAddress> {
        match literal_address(host) {
            Some(address) => self.check(address),
            None => Ok(()),
        }
    }
}

/// Returns the address that a URL's host is, without the brackets of IPv6, or `None` for a name.
pub fn literal_address(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// Returns the IPv4 address that an IPv6 address carries, if a network may unpack it. Otherwise
/// returns the address itself.
fn effective(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => embedded(v6).map_or(address, IpAddr::V4),
    }
}

fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match address.segments() {
        // `::` and `::1` are addresses of IPv6 itself.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => return None,
        // IPv4-mapped (RFC 4291, 2.5.5.2), IPv4-compatible (2.5.5.1), IPv4-translated (RFC 2765,
        // 2.1), NAT64's well-known prefix (RFC 6052), 6to4 (RFC 3056).
        [0, 0, 0, 0, 0, 0xffff | 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => (high, low),
        // ISATAP (RFC 5214, 6.1), with any public prefix. A special prefix is judged by itself.
        [.., 0 | 0x200, 0x5efe, high, low] if special_v6(address).is_none() => (high, low),
        // Teredo carries the client's address with its bits inverted (RFC 4380, 4).
        [0x2001, 0, .., high, low] => (!high, !low),
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

/// Returns the kind of a special address with its article, or `None` for a public address.
fn special_kind(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, 0, 0, 0] => Some("the unspecified"),
        [0, ..] => Some("a \"this network\""),
        [127, ..] => Some("a loopback"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("a private"),
        [169, 254, ..] => Some("a link-local"),
        [100, 64..=127, ..] => Some("a carrier-grade NAT"),
        [192, 0, 0, _] => Some("a protocol assignment"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some("a documentation"),
        [192, 88, 99, _] => Some("a 6to4 relay"),
        [198, 18..=19, ..] => Some("a benchmarking"),
        [224..=239, ..] => Some("a multicast"),
        [255, 255, 255, 255] => Some("the broadcast"),
        [240..=255, ..] => Some("a reserved"),
        _ => None,
    }
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("the unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback"),
        [0xfc00..=0xfdff, ..] => Some("a unique local"),
        [0xfe80..=0xfebf, ..] => Some("a link-local"),
        [0xfec0..=0xfeff, ..] => Some("a site-local"),
        [0xff00..=0xffff, ..] => Some("a multicast"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("a documentation"),
        [0x2001, 2, 0, ..] => Some("a benchmarking"),
        [0x2001, 0..=0x1ff, ..] => Some("a protocol assignment"),
        [0x64, 0xff9b, 1, ..] => Some("a local NAT64"),
        [0x100, 0, 0, 0 | 1, ..] => Some("a discard-only"),
        [0x5f00, ..] => Some("a segment routing"),
        // No global unicast address is assigned outside 2000::/3.
        [0x2000..=0x3fff, ..] => None,
        _ => Some("a reserved"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(address: &str) -> Option<&'static str> {
        AddressPolicy::default()
            .check(address.parse().unwrap())
            .err()
            .map(|forbidden| forbidden.kind)
    }

    #[test]
    fn public_addresses_pass() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2001:200::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
        ] {
            assert_eq!(kind(address), None, "{address}");
        }
    }

    #[test]
    fn special_addresses_are_refused() {
        for (address, expected) in [
            ("0.0.0.0", "the unspecified"),
            ("0.1.2.3", "a \"this network\""),
            ("127.0.0.1", "a loopback"),
            ("127.255.255.254", "a loopback"),
            ("10.0.0.1", "a private"),
            ("172.16.0.1", "a private"),
            ("172.31.255.255", "a private"),
            ("192.168.1.1", "a private"),
            ("169.254.169.254", "a link-local"),
            ("100.64.0.1", "a carrier-grade NAT"),
            ("100.127.255.255", "a carrier-grade NAT"),
            ("192.0.0.8", "a protocol assignment"),
            ("192.0.2.1", "a documentation"),
            ("198.51.100.7", "a documentation"),
            ("203.0.113.7", "a documentation"),
            ("192.88.99.1", "a 6to4 relay"),
            ("198.18.0.1", "a benchmarking"),
            ("198.19.255.255", "a benchmarking"),
            ("224.0.0.1", "a multicast"),
            ("239.255.255.255", "a multicast"),
            ("240.0.0.1", "a reserved"),
            ("255.255.255.255", "the broadcast"),
            ("::", "the unspecified"),
            ("::1", "a loopback"),
            ("fc00::1", "a unique local"),
            ("fd12:3456::1", "a unique local"),
            ("fe80::1", "a link-local"),
            ("fec0::1", "a site-local"),
            ("ff02::1", "a multicast"),
            ("2001:db8::1", "a documentation"),
            ("3fff::1", "a documentation"),
            ("2001:2::1", "a benchmarking"),
            ("2001:10::1", "a protocol assignment"),
            ("64:ff9b:1::1", "a local NAT64"),
            ("100::1", "a discard-only"),
            ("5f00::1", "a segment routing"),
            ("4000::1", "a reserved"),
            ("::2:0:0", "a reserved"),
        ] {
            assert_eq!(kind(address), Some(expected), "{address}");
        }
    }

    #[test]
    fn an_ipv6_address_is_judged_by_the_ipv4_address_in_it() {
        for address in [
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "2002:7f00:1::",
            "2001:0:4136:e378:8000:63bf:80ff:fffe",
            "2606:4700::5efe:127.0.0.1",
            "2606:4700::200:5efe:127.0.0.1",
        ] {
            assert_eq!(kind(address), Some("a loopback"), "{address}");
        }
        assert_eq!(kind("::ffff:169.254.169.254"), Some("a link-local"));
    }

    #[test]
    fn an_isatap_address_is_public_only_with_a_public_prefix_and_a_public_ipv4_address() {
        for (address, expected) in [
            ("fd00::5efe:808:808", Some("a unique local")),
            ("fd00::200:5efe:808:808", Some("a unique local")),
            ("fe80::5efe:808:808", Some("a link-local")),
            ("2606:4700::5efe:10.0.0.1", Some("a private")),
            ("2606:4700::200:5efe:192.168.0.1", Some("a private")),
            ("2606:4700::5efe:8.8.8.8", None),
        ] {
            assert_eq!(kind(address), expected, "{address}");
        }
    }

    #[test]
    fn listed_networks_are_allowed_in_either_form() {
        let policy =
            AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        for address in ["127.0.0.1", "::ffff:127.0.0.1", "fd00::5", "8.8.8.8"] {
            assert_eq!(policy.check(address.parse().unwrap()), Ok(()), "{address}");
        }
        for address in ["10.0.0.1", "::1", "fc00::1"] {
            assert!(policy.check(address.parse().unwrap()).is_err(), "{address}");
        }
    }

    #[test]
    fn hosts_that_are_literals_are_checked_and_names_are_not() {
        let policy = AddressPolicy::default();
        for host in ["127.0.0.1", "[::1]", "::1", "[::ffff:10.0.0.1]"] {
            assert!(policy.check_host(host).is_err(), "{host}");
        }
        for host in ["example.com", "localhost", "127.1", "2130706433", "[2606:4700::1111]"] {
            assert_eq!(policy.check_host(host), Ok(()), "{host}");
        }
    }

    #[test]
    fn the_message_says_how_to_allow_it() {
        let error =
            AddressPolicy::default().check("10.1.2.3".parse().unwrap()).unwrap_err().to_string();
        assert!(
            error.contains("10.1.2.3 is a private address")
                && error.contains("delivery.allow_networks")
        );
    }

    proptest! {
        #[test]
        fn what_the_standard_library_calls_special_is_forbidden(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            let special = v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_broadcast()
                || v4.is_documentation() || v4.is_multicast() || v4.is_unspecified();
            let policy = AddressPolicy::default();
            let forbidden = policy.check(IpAddr::V4(v4)).is_err();
            prop_assert!(!special || forbidden);
            prop_assert_eq!(policy.check(IpAddr::V6(v4.to_ipv6_mapped())).is_err(), forbidden);
        }
    }
}
