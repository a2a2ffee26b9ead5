//! The result of the sample cases of a module's manifest, and where it differs from the
//! expectation.

use crate::json::same_value::is_same_number;
use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Most failed cases whose results are stored.
const MOST_FAILED: usize = 10;
/// Reason in the result of a case that the host did not run.
pub const NOT_RUN: &str = "not_run";
/// Most bytes of a case's result that are stored, as JSON.
const LONGEST_RESULT: usize = 4 << 10;

/// A case whose result differs from the expectation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailedCase {
    /// Name of the case in the manifest.
    pub name: String,
    /// Place of the difference, as a JSON Pointer into `got`. Empty for the whole result.
    pub at: String,
    /// The expected result. Omitted if the case only has to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub expected: Option<Value>,
    /// The result: `end` (`out`, `dropped`, `failed`), `reason`, and `out` with the drafts and
    /// dispatches. `{"cut": …}` with the first bytes if it is long.
    #[schema(value_type = Object)]
    pub got: Value,
}

/// The result of the cases of a version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CasesReport {
    /// Time of the run.
    #[schema(value_type = String, format = DateTime)]
    pub ran_at: Timestamp,
    /// Number of cases that passed.
    pub passed: u32,
    /// Number of cases that failed.
    pub failed: u32,
    /// The first ten failed cases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<FailedCase>,
}

impl CasesReport {
    pub fn new(ran_at: Timestamp) -> Self {
        Self { ran_at, ..Self::default() }
    }

    pub const fn is_passed(&self) -> bool {
        self.failed == 0
    }

    /// Returns whether every case was decided. A case that the host could not run, for example
    /// because it was busy, says nothing about the module.
    pub fn has_verdict(&self) -> bool {
        let is_open = |case: &FailedCase| case.got.get("reason").is_some_and(|one| one == NOT_RUN);
        !self.failures.iter().any(is_open)
    }

    /// Compares the result of a case with the expectation, and adds it.
    pub fn note_case(&mut self, name: &str, expected: Option<&Value>, got: Value) {
        let Some(at) = find_failure(expected, &got) else {
            self.passed += 1;
            return;
        };
        self.failed += 1;
        if self.failures.len() < MOST_FAILED {
            let (name, expected) = (name.to_owned(), expected.cloned());
            self.failures.push(FailedCase { name, at, expected, got: cut_result(got) });
        }
    }

    /// Describes the first failed case: the expected and the actual result.
    pub fn tell_failure(&self) -> Option<String> {
        let first = self.failures.first()?;
        let more = match self.failed.saturating_sub(1) {
            0 => String::new(),
            more => format!("; {more} more failed"),
        };
        Some(format!("case `{}` {}{more}", first.name, first.tell()))
    }
}

impl FailedCase {
    /// Describes the expected and the actual result at the place where they differ.
    pub fn tell(&self) -> String {
        // Only the beginning of a long result is stored, so it has no place to point to.
        let cut = self.got.get("cut");
        let got = cut.or_else(|| self.got.pointer(&self.at)).unwrap_or(&Value::Null);
        let place = if self.at.is_empty() { String::new() } else { format!(" at `{}`", self.at) };
        match &self.expected {
            None => format!("should run without a failure, but returned {got}"),
            Some(expected) => {
                let expected = expected.pointer(&self.at).unwrap_or(&Value::Null);
                format!("differs{place}: expected {expected}, got {got}")
            }
        }
    }
}

fn cut_result(got: Value) -> Value {
    let text = got.to_string();
    if text.len() <= LONGEST_RESULT {
        return got;
    }
    let end = text.floor_char_boundary(LONGEST_RESULT);
    serde_json::json!({ "cut": text.get(..end), "bytes": text.len() })
}

/// Returns where a result is not as expected. A case without an expectation must not fail.
fn find_failure(expected: Option<&Value>, got: &Value) -> Option<String> {
    match expected {
        Some(expected) => find_difference(expected, got),
        None => (got.get("end").and_then(Value::as_str) == Some("failed")).then(String::new),
    }
}

/// Returns the JSON Pointer to the first place where `got` is not as expected. Members that
/// `expected` does not name may have any value, and one that is null may be absent. Lists must have
/// the same length. Numbers are compared by value.
pub fn find_difference(expected: &Value, got: &Value) -> Option<String> {
    match (expected, got) {
        (Value::Object(wanted), Value::Object(members)) => {
            wanted.iter().find_map(|(name, wanted)| {
                let member = members.get(name).unwrap_or(&Value::Null);
                let below = find_difference(wanted, member)?;
                Some(format!("/{}{below}", name.replace('~', "~0").replace('/', "~1")))
            })
        }
        (Value::Array(wanted), Value::Array(items)) if wanted.len() == items.len() => {
            let pairs = wanted.iter().zip(items).enumerate();
            let mut below =
                pairs.map(|(n, (wanted, item))| Some((n, find_difference(wanted, item)?)));
            below.find_map(|found| found.map(|(n, below)| format!("/{n}{below}")))
        }
        (Value::Number(wanted), Value::Number(number)) => {
            (!is_same_number(&wanted.to_string(), &number.to_string())).then(String::new)
        }
        (expected, got) => (expected != got).then(String::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_expected_is_compared() {
        let got = json!({"end": "out", "out": [{"draft": {"data": {"a": 1.50, "b/c": [1, 2]}}}]});
        for (expected, place) in [
            (json!({}), None),
            (json!({"end": "out"}), None),
            (json!({"reason": null}), None),
            (json!({"end": "dropped"}), Some("/end")),
            (json!({"out": [{"draft": {"data": {"a": 1.5}}}]}), None),
            (json!({"out": [{"draft": {"data": {"a": 2}}}]}), Some("/out/0/draft/data/a")),
            (
                json!({"out": [{"draft": {"data": {"b/c": [1, 3]}}}]}),
                Some("/out/0/draft/data/b~1c/1"),
            ),
            (json!({"out": []}), Some("/out")),
            (json!({"out": [{"dispatches": []}]}), Some("/out/0/dispatches")),
        ] {
            assert_eq!(find_difference(&expected, &got).as_deref(), place, "{expected}");
        }
    }

    #[test]
    fn a_report_tells_of_the_first_failure() {
        let mut report = CasesReport::default();
        report.note_case("runs", None, json!({"end": "dropped"}));
        report.note_case("traps", None, json!({"end": "failed", "reason": "module_trap"}));
        report.note_case("sum", Some(&json!({"out": [{"n": 3}]})), json!({"out": [{"n": 4}]}));
        assert_eq!((report.passed, report.failed), (1, 2));
        let told = report.tell_failure().unwrap();
        assert!(told.contains("`traps`") && told.contains("1 more failed"), "{told}");
        let told = report.failures.last().unwrap().tell();
        assert_eq!(told, "differs at `/out/0/n`: expected 3, got 4");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut report = CasesReport::default();
        for _ in 0..50 {
            let got = json!({"end": "failed", "reason": "x".repeat(LONGEST_RESULT)});
            report.note_case("long", None, got);
        }
        assert_eq!((report.failed, report.failures.len()), (50, MOST_FAILED));
        let told = report.tell_failure().unwrap();
        assert!(told.contains("xxx") && told.contains("49 more failed"), "{told}");
        assert!(serde_json::to_string(&report).unwrap().len() < 64 << 10);
    }
}
