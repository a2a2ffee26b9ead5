//! `waybill module test --cases DIR`: runs a component on the cases of a folder, and compares what
//! it does with the expected results (golden files).

use std::path::Path;

use serde_json::{Value, json};
use similar::TextDiff;

use super::build;
use super::golden_files::{CaseFile, read_cases};
use super::run::admit_module;
use crate::cli::{CliError, CommandScreen};
use crate::model::case_report::find_difference;
use crate::wasm::LoadedModule;

/// Unchanged lines that a difference shows around each change.
const CONTEXT: usize = 3;
/// Longest difference that is shown, in bytes.
const LONGEST_DIFF: usize = 16 << 10;

/// What to run, and what to do with the results.
#[derive(Debug, Clone, Copy)]
pub struct GoldenRun<'a> {
    /// The component. Without it, the project is built.
    pub component: Option<&'a Path>,
    pub project: &'a Path,
    pub cases: &'a Path,
    /// Whether the results are written into the cases, as the expected ones.
    pub update: bool,
}

/// How a case ended.
enum CaseEnd {
    Passed,
    /// The result was written as the expected one.
    Written,
    /// The case cannot be run.
    Unusable(String),
    Differs {
        at: String,
        expected: Option<Value>,
        got: Value,
        diff: String,
    },
}

impl GoldenRun<'_> {
    pub async fn run_cases(&self, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
        let cases = read_cases(self.cases)?;
        let file = match self.component {
            Some(file) => file.to_owned(),
            None => build::component(self.project).await?,
        };
        let wasm = std::fs::read(&file).map_err(CliError::reading(&file))?;
        let module = admit_module(&file, &wasm).await?;
        let mut ends = Vec::with_capacity(cases.len());
        for case in &cases {
            ends.push((case.name.as_str(), self.run_case(&module, case).await?));
        }
        self.tell_ends(&ends, screen)
    }

    async fn run_case(&self, module: &LoadedModule, file: &CaseFile) -> Result<CaseEnd, CliError> {
        let case = match &file.case {
            Ok(case) => case,
            Err(why) => return Ok(CaseEnd::Unusable(why.clone())),
        };
        let results = match module.run_golden(case).await {
            Ok(results) => results,
            Err(why) => return Ok(CaseEnd::Unusable(why)),
        };
        let got = file.shape_results(results);
        if file.expected.as_ref() == Some(&got) {
            return Ok(CaseEnd::Passed);
        }
        if self.update {
            file.write_expected(&got)?;
            return Ok(CaseEnd::Written);
        }
        let expected = file.expected.clone();
        let before = expected.clone().unwrap_or_default();
        let at = find_difference(&before, &got).or_else(|| find_difference(&got, &before));
        let diff = show_difference(&before, &got);
        Ok(CaseEnd::Differs { at: at.unwrap_or_default(), expected, got, diff })
    }

    fn tell_ends(
        &self,
        ends: &[(&str, CaseEnd)],
        screen: &mut CommandScreen<'_>,
    ) -> Result<(), CliError> {
        let count =
            |wanted: fn(&CaseEnd) -> bool| ends.iter().filter(|(_, end)| wanted(end)).count();
        let passed = count(|end| matches!(end, CaseEnd::Passed));
        let written = count(|end| matches!(end, CaseEnd::Written));
        let failed = ends.len() - passed - written;
        if screen.is_human() {
            for (name, end) in ends {
                screen.print_line(format!("{:<7}  {name}", end.word()))?;
                for line in end.tell(self.cases).lines() {
                    screen.print_line(format!("         {line}").trim_end())?;
                }
            }
            let written = if written > 0 { format!(", {written} written") } else { String::new() };
            screen.print_line(format!("{passed} passed, {failed} failed{written}"))?;
        } else {
            let failures: Vec<Value> =
                ends.iter().filter_map(|(name, end)| end.to_failure(name)).collect();
            let names = ends.iter().filter(|(_, end)| matches!(end, CaseEnd::Written));
            let written: Vec<&str> = names.map(|(name, _)| *name).collect();
            screen.print_json(&json!({
                "passed": passed, "failed": failed, "written": written, "failures": failures,
            }))?;
        }
        if failed == 0 { Ok(()) } else { Err(CliError::Reported) }
    }
}

impl CaseEnd {
    const fn word(&self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Written => "written",
            Self::Unusable(_) | Self::Differs { .. } => "FAILED",
        }
    }

    fn tell(&self, cases: &Path) -> String {
        match self {
            Self::Passed | Self::Written => String::new(),
            Self::Unusable(why) => why.clone(),
            Self::Differs { expected: None, diff, .. } => format!(
                "it has no expected result yet; `--update` writes this one into {}\n{diff}",
                cases.display()
            ),
            Self::Differs { at, diff, .. } => format!("differs at `{at}`\n{diff}"),
        }
    }

    /// Describes a failure in the members that the server uses for a failed sample case.
    fn to_failure(&self, name: &str) -> Option<Value> {
        match self {
            Self::Passed | Self::Written => None,
            Self::Unusable(why) => Some(json!({ "name": name, "at": "", "why": why })),
            Self::Differs { at, expected, got, diff } => Some(json!({
                "name": name, "at": at, "expected": expected, "got": got, "diff": diff,
            })),
        }
    }
}

/// Shows the lines that differ, with members in alphabetical order, so that only values differ.
fn show_difference(expected: &Value, got: &Value) -> String {
    let text = |value: &Value| {
        let mut sorted = value.clone();
        sorted.sort_all_objects();
        format!("{sorted:#}\n")
    };
    let (before, after) = (text(expected), text(got));
    let diff = TextDiff::from_lines(&before, &after);
    let mut shown =
        diff.unified_diff().context_radius(CONTEXT).header("expected", "got").to_string();
    if shown.len() > LONGEST_DIFF {
        shown.truncate(shown.floor_char_boundary(LONGEST_DIFF));
        shown.push_str("\n… (cut)\n");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_what_changed_and_not_the_order_of_members() {
        let before = json!({"b": 1, "a": {"total": "1.00", "n": [1, 2]}});
        let after = json!({"a": {"n": [1, 2], "total": "2.00"}, "b": 1});
        let shown = show_difference(&before, &after);
        assert!(shown.starts_with("--- expected\n+++ got\n"), "{shown}");
        assert!(shown.contains("-    \"total\": \"1.00\"\n+    \"total\": \"2.00\"\n"), "{shown}");
        let changed = shown.lines().filter(|line| line.starts_with(['-', '+'])).count();
        assert_eq!(changed, 4, "two headers and one changed line: {shown}");
    }

    #[test]
    fn a_long_difference_is_cut() {
        let after = json!(vec!["x".repeat(100); 1_000]);
        assert!(show_difference(&Value::Null, &after).len() < LONGEST_DIFF + 100);
    }
}
