//! Resolves parts of ids: the beginning or the end of one, as a table shows it.
//!
//! The REST interface accepts only whole ids, so a part is looked up in the list of its kind. A
//! whole id is never looked up: scripts make no further calls, and need no right to list.

use super::CliError;
use super::client::{QueryParameters, ServerClient};
use super::screen::short_id::split_id;
use serde_json::Value;

/// Smallest number of characters of a part, after the prefix of the kind.
const LEAST: usize = 4;
/// Smallest number without the prefix, because a part could be a mistyped name, such as `feed`.
const LEAST_BARE: usize = 8;
/// Number of newest objects that are searched: ten calls.
const MOST: usize = 2_000;
/// Number of candidates that are listed when a part fits several.
const NAMED: usize = 8;

/// A kind of object that is identified by its id alone.
#[derive(Debug, Clone, Copy)]
pub struct IdKind {
    /// The word for one object.
    pub word: &'static str,
    /// The path of its list.
    pub path: &'static str,
    /// The prefix of its ids.
    pub prefix: &'static str,
}

pub const EVENT: IdKind = IdKind { word: "event", path: "/events", prefix: "evt_" };
pub const DELIVERY: IdKind = IdKind { word: "delivery", path: "/deliveries", prefix: "dlv_" };
pub const ALERT: IdKind = IdKind { word: "alert", path: "/alerts", prefix: "alr_" };
pub const DEAD_LETTER: IdKind =
    IdKind { word: "dead letter", path: "/dead-letters", prefix: "dlt_" };

/// The typed part of an id, without the prefix of its kind.
#[derive(Debug, PartialEq, Eq)]
pub struct PartialId<'a>(&'a str);

impl<'a> PartialId<'a> {
    /// Parses a part of an id. Returns `None` for a whole id, and for a text that cannot be a part.
    pub fn read(given: &'a str, prefix: &str) -> Option<Self> {
        if split_id(given).is_some() {
            return None;
        }
        let (part, least) = match given.strip_prefix(prefix) {
            Some(part) => (part.trim_start_matches('…'), LEAST),
            None => (given, LEAST_BARE),
        };
        let is_part = part.len() >= least
            && part.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
        is_part.then_some(Self(part))
    }

    /// Returns whether an id begins or ends with this part.
    pub fn fits(&self, id: &str) -> bool {
        let rest = id.split_once('_').map_or(id, |(_, rest)| rest);
        let part = self.0.to_ascii_lowercase();
        rest.starts_with(&part) || rest.ends_with(&part)
    }

    /// Returns the only id that this part fits, or `None` if it fits none.
    pub fn find_only<'i>(
        &self,
        word: &str,
        ids: impl Iterator<Item = &'i str>,
    ) -> Result<Option<&'i str>, CliError> {
        let found: Vec<&str> = ids.filter(|id| self.fits(id)).collect();
        match found.as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(only)),
            several => Err(self.describe_choice(word, several)),
        }
    }

    fn describe_choice(&self, word: &str, ids: &[&str]) -> CliError {
        let named: Vec<&str> = ids.iter().take(NAMED).copied().collect();
        let more = ids.len() - named.len();
        let more = if more == 0 { String::new() } else { format!("\n  and {more} more") };
        let what = format!("{} fits {} ids:\n  {}{more}", self.0, ids.len(), named.join("\n  "));
        CliError::with_next(what, format!("type more of the {word}'s id"))
    }
}

impl IdKind {
    /// Returns the whole id for `given`, which may be a part.
    pub async fn find_whole(self, client: &ServerClient, given: &str) -> Result<String, CliError> {
        let Some(part) = PartialId::read(given, self.prefix) else { return Ok(given.to_owned()) };
        let newest = client.list_pages(self.path, &QueryParameters::default(), MOST).await?;
        let ids = newest.iter().filter_map(|one| one.get("id").and_then(Value::as_str));
        if let Some(id) = part.find_only(self.word, ids)? {
            return Ok(id.to_owned());
        }
        let (word, searched) = (self.word, newest.len());
        let (place, next) = if searched < MOST {
            (
                format!("no {word} has an id"),
                format!("see `waybill {} list`", word.replace(' ', "-")),
            )
        } else {
            let next = "give the whole id, as --json and --wide show it".to_owned();
            (format!("none of the newest {searched} has an id"), next)
        };
        Err(CliError::with_next(format!("{place} that begins or ends with {}", part.0), next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "evt_01999c2e-7a10-7001-8000-1234aabbccdd";
    const TWO: &str = "evt_01999c2e-7a10-7002-8000-1234eebbccdd";

    #[test]
    fn a_part_is_a_beginning_or_an_ending() {
        for given in
            ["evt_aabbccdd", "aabbccdd", "evt_…AABBCCDD", "evt_01999c2e-7a10-7001", "evt_ccdd"]
        {
            assert!(PartialId::read(given, "evt_").unwrap().fits(ONE), "{given}");
        }
        assert!(!PartialId::read("evt_eebbccdd", "evt_").unwrap().fits(ONE));
        for given in [ONE, "evt_abc", "feed", "erp", "dlq_1", "evt_nonsense", ""] {
            assert_eq!(PartialId::read(given, "evt_"), None, "{given}");
        }
    }

    #[test]
    fn a_part_that_fits_several_names_them() {
        let find = |given: &'static str| {
            let part = PartialId::read(given, "evt_").unwrap();
            part.find_only("event", [ONE, TWO].into_iter())
        };
        assert_eq!(find("aabbccdd").unwrap(), Some(ONE));
        assert_eq!(find("ffffffff").unwrap(), None);
        let said = find("evt_bbccdd").unwrap_err().to_string();
        assert!(said.contains("fits 2 ids") && said.contains(ONE) && said.contains(TWO), "{said}");
        assert!(said.ends_with("next: type more of the event's id"), "{said}");
    }
}
