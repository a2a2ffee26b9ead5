//! Slows down callers that try unknown tokens.
//!
//! Each address may fail [`BURST`] times, and then once every [`INTERVAL`]. Further calls are
//! refused before their token is checked, so guessing cannot go faster. A token that was used
//! successfully from the same address before is still admitted, so one bad neighbour behind a
//! shared address does not lock out others.
//!
//! IPv6 addresses are counted by their /64, because one household or server gets a /64 (RFC 6177).
//! At most [`ADDRESSES`] addresses are remembered. If more fail, the addresses with the least
//! recent failures are forgotten first.

use super::address::network;
use crate::time::timestamp::Timestamp;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Failures that an address may have before it is slowed down.
const BURST: i64 = 100;
/// Time for each further failure, in microseconds.
const INTERVAL: i64 = 2_000_000;
/// Most addresses that are remembered.
const ADDRESSES: usize = 10_000;

/// Remembers which addresses failed.
#[derive(Debug, Default)]
pub struct FailureThrottle {
    /// Whether any address failed. Read before the lock, so that the usual call takes no lock.
    any: AtomicBool,
    failures: Mutex<HashMap<IpAddr, FailureCount>>,
}

#[derive(Debug, Clone, Copy)]
struct FailureCount {
    /// The time at which all failures of the address are forgiven, in microseconds (the theoretical
    /// arrival time of the generic cell rate algorithm, ITU-T I.371).
    forgiven: i64,
}

impl FailureThrottle {
    /// Checks whether an address may try again. The error is the number of seconds to wait.
    pub fn check(&self, address: IpAddr, now: Timestamp) -> Result<(), u32> {
        if !self.any.load(Ordering::Relaxed) {
            return Ok(());
        }
        let all = self.lock();
        let Some(failures) = all.get(&network(address)) else { return Ok(()) };
        let ahead = failures.forgiven.saturating_sub(now.micros()) - (BURST - 1) * INTERVAL;
        if ahead <= 0 {
            return Ok(());
        }
        Err(u32::try_from(ahead.div_euclid(1_000_000) + 1).unwrap_or(u32::MAX))
    }

    /// Records a failure of an address.
    pub fn failed(&self, address: IpAddr, now: Timestamp) {
        let now = now.micros();
        let mut all = self.lock();
        let network = network(address);
        if all.len() >= ADDRESSES && !all.contains_key(&network) {
            forget(&mut all, now);
        }
        let failures = all.entry(network);
        let failures = failures.or_insert(FailureCount { forgiven: now });
        failures.forgiven = failures.forgiven.max(now).saturating_add(INTERVAL);
        self.any.store(true, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, FailureCount>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room: forgets addresses that are forgiven, or, if that is not enough, the half that would
/// be forgiven first.
fn forget(all: &mut HashMap<IpAddr, FailureCount>, now: i64) {
    all.retain(|_, failures| failures.forgiven > now);
    if all.len() < ADDRESSES {
        return;
    }
    let mut ends: Vec<i64> = all.values().map(|failures| failures.forgiven).collect();
    let half = ends.len() / 2;
    let (_, middle, _) = ends.select_nth_unstable(half);
    let middle = *middle;
    all.retain(|_, failures| failures.forgiven > middle);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn many_failures_slow_an_address_and_no_other() {
        let throttle = FailureThrottle::default();
        let bad = address("192.0.2.1");
        for _ in 0..BURST {
            assert_eq!(throttle.check(bad, at(0)), Ok(()));
            throttle.failed(bad, at(0));
        }
        assert!(throttle.check(bad, at(0)).is_err());
        assert_eq!(throttle.check(address("192.0.2.2"), at(0)), Ok(()));
        assert!(throttle.check(bad, at(INTERVAL - 1)).is_err());
        assert_eq!(throttle.check(bad, at(INTERVAL)), Ok(()));
        throttle.failed(bad, at(INTERVAL));
        assert!(throttle.check(bad, at(INTERVAL)).is_err());
    }

    #[test]
    fn a_household_of_ipv6_is_slowed_together() {
        let throttle = FailureThrottle::default();
        (0..BURST).for_each(|_| throttle.failed(address("2001:db8::1"), at(0)));
        assert_eq!(throttle.check(address("2001:db8::2"), at(0)), Err(3));
        assert_eq!(throttle.check(address("2001:db8:0:1::2"), at(0)), Ok(()));
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = FailureThrottle::default();
        for n in 0..20_000_u32 {
            throttle.failed(IpAddr::V4(n.into()), at(i64::from(n)));
        }
        assert!(throttle.lock().len() <= ADDRESSES);
        assert!(throttle.lock().contains_key(&IpAddr::V4(19_999.into())));
    }
}
