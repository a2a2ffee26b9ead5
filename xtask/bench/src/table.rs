//! Figures, their targets, and the one table that shows both.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};

/// One figure of one case.
#[derive(Debug, Clone)]
pub(crate) struct Measure {
    case: &'static str,
    what: &'static str,
    unit: &'static str,
    figure: Figure,
    target: Target,
}

#[derive(Debug, Clone)]
enum Figure {
    Measured(f64),
    Failed(String),
}

/// The target of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// No target: the figure is for information.
    None,
    /// This value or more.
    AtLeast(f64),
    /// This value or less.
    AtMost(f64),
}

impl Measure {
    /// Creates a figure without a target.
    pub(crate) fn new(
        case: &'static str,
        what: &'static str,
        unit: &'static str,
        figure: f64,
    ) -> Self {
        Self { case, what, unit, figure: Figure::Measured(figure), target: Target::None }
    }

    /// Adds a target.
    #[must_use]
    pub(crate) fn against(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// Creates the entry of a case that failed.
    pub(crate) fn failed(case: &'static str, error: &anyhow::Error) -> Self {
        let figure = Figure::Failed(format!("{error:#}"));
        Self { case, what: "failed", unit: "", figure, target: Target::None }
    }

    fn verdict(&self) -> &'static str {
        match (&self.figure, self.target) {
            (Figure::Failed(_), _) => "FAILED",
            (Figure::Measured(_), Target::None) => "",
            (Figure::Measured(figure), Target::AtLeast(least)) if *figure >= least => "met",
            (Figure::Measured(figure), Target::AtMost(most)) if *figure <= most => "met",
            (Figure::Measured(_), Target::AtLeast(_) | Target::AtMost(_)) => "MISSED",
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {} {}", self.what, self.figure, self.unit, self.target)
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measured(figure) => f.write_str(&number(*figure)),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::AtLeast(least) => write!(f, "≥ {}", number(*least)),
            Self::AtMost(most) => write!(f, "≤ {}", number(*most)),
        }
    }
}

/// Formats three significant digits, with thousands separated.
fn number(value: f64) -> String {
    if value < 10.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |rest| ("-", rest));
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}")
}

/// Returns the median of each figure over the rounds of one case.
pub(crate) fn median(rounds: &[Vec<Measure>]) -> Vec<Measure> {
    let Some(first) = rounds.first().cloned() else { return Vec::new() };
    let middle = |measure: &Measure| {
        let mut figures: Vec<f64> = rounds
            .iter()
            .flatten()
            .filter(|other| other.what == measure.what)
            .filter_map(|other| match other.figure {
                Figure::Measured(figure) => Some(figure),
                Figure::Failed(_) => None,
            })
            .collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied()
    };
    first
        .into_iter()
        .map(|measure| match middle(&measure) {
            Some(figure) => Measure { figure: Figure::Measured(figure), ..measure },
            None => measure,
        })
        .collect()
}

/// Prints the settings and the table.
pub(crate) fn print(measures: &[Measure], settings: &[String], markdown: bool) {
    let mut table = Table::new();
    let preset = if markdown { presets::ASCII_MARKDOWN } else { presets::UTF8_BORDERS_ONLY };
    table.load_preset(preset).set_header(["case", "measure", "figure", "unit", "target", ""]);
    let mut shown = "";
    for measure in measures {
        // A case is named once, at its first figure.
        let case = if measure.case == shown { "" } else { measure.case };
        shown = measure.case;
        let figure = measure.figure.to_string();
        let target = measure.target.to_string();
        table.add_row([case, measure.what, &figure, measure.unit, &target, measure.verdict()]);
    }
    for column in [2, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in settings {
        println!("{line}{}", if markdown { "  " } else { "" });
    }
    println!("\n{table}");
}

#[cfg(test)]
mod tests {
    use super::{Measure, Target, median, number};

    #[test]
    fn numbers_read_well() {
        assert_eq!(number(21_345.4), "21,345");
        assert_eq!(number(0.493), "0.49");
        assert_eq!(number(0.0), "0");
        assert_eq!(number(-1500.0), "-1,500");
    }

    #[test]
    fn the_median_is_held_to_the_target() {
        let round = |figure| {
            let measure = Measure::new("case", "rate", "events/s", figure);
            vec![measure.against(Target::AtLeast(10.0))]
        };
        let found = median(&[round(50.0), round(9.0), round(11.0)]);
        assert_eq!(found[0].figure.to_string(), "11");
        assert_eq!(found[0].verdict(), "met");
        assert_eq!(median(&[round(9.0)])[0].verdict(), "MISSED");
    }
}
