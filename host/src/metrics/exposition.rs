//! Prometheus' text format 0.0.4. The library writes OpenMetrics 1.0, in which the name of a
//! counter's family lacks `_total`. In the older format, which every scraper reads, a family and
//! its series have the same name.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::fmt::{Display, Write as _};

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// Returns all figures of a registry as text.
pub fn encode_registry(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing into memory does not fail.
    let _written = encode(&mut text, registry);
    to_text_format(&text)
}

/// Converts OpenMetrics to format 0.0.4.
fn to_text_format(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut lines = openmetrics.lines();
    while let Some(line) = lines.next() {
        let Some(help) = line.strip_prefix("# HELP ") else {
            if line != "# EOF" {
                push_line(&mut text, line);
            }
            continue;
        };
        let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")).unwrap_or_default();
        let (name, help) = help.split_once(' ').unwrap_or((help, ""));
        let kind = kind.split_once(' ').map_or("untyped", |(_, kind)| kind);
        let suffix = if kind == "counter" { "_total" } else { "" };
        push_line(&mut text, &format!("# HELP {name}{suffix} {help}"));
        push_line(&mut text, &format!("# TYPE {name}{suffix} {kind}"));
    }
    text
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// A family with values that are read at the time of a scrape.
#[derive(Debug)]
pub struct SampledFamily {
    text: String,
    name: &'static str,
}

impl SampledFamily {
    /// Makes a family without series. `kind` is `counter` or `gauge`; `name` is the complete name.
    pub fn new(name: &'static str, kind: &str, help: &str) -> Self {
        Self { text: format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"), name }
    }

    /// Adds a series.
    #[must_use]
    pub fn with_value(mut self, labels: &[(&str, &str)], value: impl Display) -> Self {
        let shown = labels.iter().map(|(name, text)| format!("{name}=\"{}\"", escape_label(text)));
        let shown = shown.collect::<Vec<_>>().join(",");
        let name = self.name;
        // Writing into memory does not fail.
        let _written = if shown.is_empty() {
            writeln!(self.text, "{name} {value}")
        } else {
            writeln!(self.text, "{name}{{{shown}}} {value}")
        };
        self
    }

    pub fn into_text(self) -> String {
        self.text
    }
}

fn escape_label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counters_family_has_the_name_of_its_series() {
        let given = "# HELP a_b It.\n# TYPE a_b counter\na_b_total 1\n# HELP c It.\n# TYPE c gauge\nc 2\n# EOF\n";
        let expected = "# HELP a_b_total It.\n# TYPE a_b_total counter\na_b_total 1\n\
                        # HELP c It.\n# TYPE c gauge\nc 2\n";
        assert_eq!(to_text_format(given), expected);
    }

    #[test]
    fn labels_are_escaped() {
        let family = SampledFamily::new("x", "gauge", "X.").with_value(&[("a", "q\"\\")], 3);
        assert_eq!(family.into_text(), "# HELP x X.\n# TYPE x gauge\nx{a=\"q\\\"\\\\\"} 3\n");
    }
}
