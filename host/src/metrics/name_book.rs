//! Names that have figures of their own, within a bound.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Names of each kind that have series of their own. 200 endpoints have some 5,600 series, which
/// a scrape writes in a few milliseconds.
pub const MOST_NAMES: usize = 200;
/// The name that everything beyond the bound shares.
pub const OTHER: &str = "other";

/// The figures of each name. A name keeps its figures until the process ends, also where the thing
/// is deleted: a counter that vanished and came again would look like a restart.
#[derive(Debug)]
pub struct NameBook<F>(Mutex<HashMap<String, Arc<F>>>);

impl<F> Default for NameBook<F> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<F> NameBook<F> {
    /// The figures of a name, made by `make` where it is new; those of [`OTHER`] where there are
    /// too many names.
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
    fn names_beyond_the_bound_share_one() {
        let book = NameBook::default();
        let find = |name: &str| book.find(name, str::to_owned);
        let names: Vec<_> = (0..MOST_NAMES + 50).map(|n| find(&format!("e{n}"))).collect();
        assert_eq!(*names[3], "e3");
        assert!(Arc::ptr_eq(&names[3], &find("e3")), "a name keeps its figures");
        assert_eq!(*names[MOST_NAMES], OTHER);
        assert!(Arc::ptr_eq(&names[MOST_NAMES], &names[MOST_NAMES + 49]));
    }
}
