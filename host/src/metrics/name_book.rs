//! A bounded set of names with figures of their own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most names of each kind that have series of their own. 200 endpoints have about 5,600 series,
/// which a scrape writes in a few milliseconds.
pub const MOST_NAMES: usize = 200;
/// The name that all further names share.
pub const OTHER: &str = "other";

/// The figures of each name. A name keeps its figures until the process ends, even if its object is
/// deleted: a counter that vanishes and returns looks like a restart to Prometheus.
#[derive(Debug)]
pub struct NameBook<F>(Mutex<HashMap<String, Arc<F>>>);

impl<F> Default for NameBook<F> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<F> NameBook<F> {
    /// Returns the figures of a name, if it has figures of its own.
    pub fn find_known(&self, name: &str) -> Option<Arc<F>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Returns the figures of a name. `make` makes them for a new name. If there are too many
    /// names, the figures of [`OTHER`] are returned.
    pub fn find(&self, name: &str, make: impl FnOnce(&str) -> F) -> Arc<F> {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = book.get(name) {
            return Arc::clone(known);
        }
        let name = if book.len() < MOST_NAMES { name } else { OTHER };
        Arc::clone(book.entry(name.to_owned()).or_insert_with(|| Arc::new(make(name))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_share_the_name_other() {
        let book = NameBook::default();
        let find = |name: &str| book.find(name, str::to_owned);
        let names: Vec<_> = (0..MOST_NAMES + 50).map(|n| find(&format!("e{n}"))).collect();
        assert_eq!(*names[3], "e3");
        assert!(Arc::ptr_eq(&names[3], &find("e3")), "a name keeps its figures");
        assert_eq!(*names[MOST_NAMES], OTHER);
        assert!(Arc::ptr_eq(&names[MOST_NAMES], &names[MOST_NAMES + 49]));
    }
}
