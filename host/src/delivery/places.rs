//! Bounds the requests in flight of the whole process.
//!
//! Each request needs a connection, and connections need file descriptors. An endpoint gets another
//! place only while it has at most one [`SHARE`]th of the places that are free. So the more
//! requests
//! one endpoint has in flight, the more places stay free for others: even twelve endpoints that
//! hang cannot take all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// An endpoint may have one place for this many free ones.
const SHARE: usize = 4;

/// The places of the process. Each allows one request in flight.
#[derive(Debug)]
pub struct RequestPlaces {
    free: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
}

/// Counts the places that one endpoint has.
#[derive(Debug, Clone, Default)]
pub struct EndpointPlaces(Arc<AtomicUsize>);

/// A place for one request. Dropping it frees the place.
#[derive(Debug)]
pub struct RequestPlace {
    places: Arc<RequestPlaces>,
    own: EndpointPlaces,
}

impl RequestPlaces {
    /// Creates places for `most` requests, at least one.
    pub fn new(most: usize) -> Arc<Self> {
        let free = AtomicUsize::new(most.max(1));
        Arc::new(Self { free, waiting: AtomicUsize::new(0), freed: Notify::new() })
    }

    /// Waits for a place for a request of an endpoint.
    pub async fn take_place(self: &Arc<Self>, own: &EndpointPlaces) -> RequestPlace {
        if let Some(place) = self.try_take(own) {
            return place;
        }
        let _waiting = WaitingCount::new(&self.waiting);
        loop {
            // Registers before it tries, so that a place that is freed in between is not missed.
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(place) = self.try_take(own) {
                return place;
            }
            freed.await;
        }
    }

    fn try_take(self: &Arc<Self>, own: &EndpointPlaces) -> Option<RequestPlace> {
        let used = own.0.load(Ordering::Relaxed);
        let one_less = |free: usize| (free > 0 && used <= free / SHARE).then(|| free - 1);
        self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less).ok()?;
        own.0.fetch_add(1, Ordering::Relaxed);
        Some(RequestPlace { places: Arc::clone(self), own: own.clone() })
    }
}

impl Drop for RequestPlace {
    fn drop(&mut self) {
        self.own.0.fetch_sub(1, Ordering::Relaxed);
        self.places.free.fetch_add(1, Ordering::SeqCst);
        if self.places.waiting.load(Ordering::SeqCst) > 0 {
            self.places.freed.notify_waiters();
        }
    }
}

/// Counts a waiter for as long as it exists, even if the wait is given up.
struct WaitingCount<'c>(&'c AtomicUsize);

impl<'c> WaitingCount<'c> {
    fn new(count: &'c AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for WaitingCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn endpoints_that_hang_leave_places_for_others() {
        let places = RequestPlaces::new(256);
        let mut held = Vec::new();
        for _ in 0..12 {
            let own = EndpointPlaces::default();
            held.extend(std::iter::from_fn(|| places.try_take(&own)).take(96));
        }
        let healthy = EndpointPlaces::default();
        let more: Vec<_> = std::iter::from_fn(|| places.try_take(&healthy)).collect();
        assert!(more.len() > 1, "{} places after {}", more.len(), held.len());
        drop((held, more));
        assert_eq!(places.free.load(Ordering::Relaxed), 256);
    }

    #[test]
    fn a_waiter_gets_the_place_that_is_freed() {
        let places = RequestPlaces::new(1);
        let (first, second) = (EndpointPlaces::default(), EndpointPlaces::default());
        let held = places.try_take(&first).unwrap();
        let mut waiting = Box::pin(places.take_place(&second));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(held);
        assert!(waiting.now_or_never().is_some());
    }
}
