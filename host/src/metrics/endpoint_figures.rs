//! Figures of each endpoint.

use super::histogram::{AtomicHistogram, REQUEST_SECONDS};
use crate::net::error_class::ErrorClass;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::time::Duration;

type EndpointLabel = [(&'static str, String); 1];
type OutcomeLabels = [(&'static str, String); 2];
type HistogramFamily = Family<EndpointLabel, AtomicHistogram, fn() -> AtomicHistogram>;

/// The figures of one endpoint.
#[derive(Debug)]
pub struct EndpointFigures {
    delivered: Counter,
    /// Failed attempts by class, in the order of [`ErrorClass::ALL`].
    failed: [Counter; ErrorClass::ALL.len()],
    dead: Counter,
    seconds: AtomicHistogram,
}

impl EndpointFigures {
    /// Counts an attempt. `class` is `None` if it succeeded.
    pub fn note_attempt(&self, class: Option<ErrorClass>, took: Duration) {
        let counter = match class {
            None => Some(&self.delivered),
            Some(class) => self.failed.get(class as usize),
        };
        if let Some(counter) = counter {
            counter.inc();
        }
        self.seconds.observe_span(took);
    }

    /// Counts a delivery that became a dead letter.
    pub fn note_death(&self) {
        self.dead.inc();
    }
}

/// The metric families of all endpoints.
#[derive(Debug)]
pub struct EndpointFamilies {
    attempts: Family<OutcomeLabels, Counter>,
    dead: Family<EndpointLabel, Counter>,
    seconds: HistogramFamily,
}

impl EndpointFamilies {
    pub fn register(registry: &mut Registry) -> Self {
        let families = Self {
            attempts: Family::default(),
            dead: Family::default(),
            seconds: Family::new_with_constructor(|| AtomicHistogram::new(REQUEST_SECONDS)),
        };
        let attempts = families.attempts.clone();
        let help = "Attempts by endpoint and outcome: delivered, or the class of the error";
        registry.register("waybill_endpoint_attempts", help, attempts);
        let help = "Deliveries of an endpoint that became dead letters";
        registry.register("waybill_endpoint_dead", help, families.dead.clone());
        let help = "How long attempts took, by endpoint";
        registry.register("waybill_endpoint_attempt_seconds", help, families.seconds.clone());
        families
    }

    pub fn make(&self, name: &str) -> EndpointFigures {
        let outcome = |outcome: &str| {
            let labels = [("endpoint", name.to_owned()), ("outcome", outcome.to_owned())];
            self.attempts.get_or_create_owned(&labels)
        };
        let label = [("endpoint", name.to_owned())];
        EndpointFigures {
            delivered: outcome("delivered"),
            failed: ErrorClass::ALL.map(|class| outcome(class.as_str())),
            dead: self.dead.get_or_create_owned(&label),
            seconds: self.seconds.get_or_create_owned(&label),
        }
    }
}
