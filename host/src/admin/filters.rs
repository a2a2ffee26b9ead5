//! Filters: one GET form. Its address contains the complete choice, so it can be sent to a
//! colleague.

use super::texts::tell_count;
use maud::{Markup, html};

/// Most values in one picker.
pub const MOST_VALUES: usize = 100;

/// A value in a picker.
#[derive(Debug, Clone)]
pub struct FilterValue {
    /// The value in the address.
    pub value: String,
    /// The label that a person reads.
    pub label: String,
    /// How many objects have this value, if known.
    pub count: Option<u64>,
}

impl FilterValue {
    /// Makes a value that is its own label.
    pub fn plain(value: impl Into<String>, count: Option<u64>) -> Self {
        let value = value.into();
        Self { label: value.clone(), value, count }
    }

    /// Makes a value with a separate label.
    pub fn labelled(value: &str, label: &str) -> Self {
        Self { value: value.to_owned(), label: label.to_owned(), count: None }
    }
}

/// One choice of a filter, drawn as a chip that opens a picker.
#[derive(Debug)]
pub struct FilterChoice<'f> {
    /// The name of the parameter.
    pub name: &'static str,
    pub label: &'static str,
    /// The chosen value.
    pub chosen: Option<&'f str>,
    pub values: Vec<FilterValue>,
    /// The label for "no filter".
    pub any: &'static str,
}

impl FilterChoice<'_> {
    /// Draws the chip. It uses radio buttons, because one value is chosen.
    pub fn draw(&self) -> Markup {
        let chosen = self.chosen.filter(|chosen| !chosen.is_empty());
        let is_offered =
            |chosen: &&str| self.values.iter().any(|offered| offered.value == **chosen);
        let label = chosen.map(|chosen| {
            let known = self.values.iter().find(|offered| offered.value == chosen);
            known.map_or(chosen, |offered| offered.label.as_str())
        });
        html! {
            details class={ "chip" @if chosen.is_some() { " on" } } name="chip" {
                summary { (self.label) @if let Some(label) = label { " " b { (label) } } }
                div class="pick" {
                    (self.draw_value("", self.any, None, chosen.is_none()))
                    @if let Some(other) = chosen.filter(|chosen| !is_offered(chosen)) {
                        (self.draw_value(other, other, None, true))
                    }
                    @for offered in self.values.iter().take(MOST_VALUES) {
                        @let is_chosen = chosen == Some(offered.value.as_str());
                        (self.draw_value(&offered.value, &offered.label, offered.count, is_chosen))
                    }
                    button class="btn small" type="submit" { "Apply" }
                }
            }
        }
    }

    fn draw_value(&self, value: &str, label: &str, count: Option<u64>, is_chosen: bool) -> Markup {
        html! {
            label class="check" {
                input type="radio" name=(self.name) value=(value) checked[is_chosen];
                span class="cut" { (label) }
                @if let Some(count) = count { span class="n" { (tell_count(count)) } }
            }
        }
    }
}

/// Returns the query without this parameter and without empty parameters.
pub fn query_without(query: &str, name: &str) -> String {
    let pairs = query.split('&').filter(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        key != name && !value.is_empty()
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// Returns the address of another page of the same list.
pub fn page_address(path: &str, query: &str, cursor: Option<&str>) -> String {
    let mut query = query_without(query, "cursor");
    if let Some(cursor) = cursor {
        let sign = if query.is_empty() { "" } else { "&" };
        query = format!("{query}{sign}cursor={}", super::texts::encode_query(cursor));
    }
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// Draws the foot of a list: how many entries are shown, and the links to other pages.
pub fn draw_pager(path: &str, query: &str, shown: usize, next: Option<&str>) -> Markup {
    let is_first = !query.split('&').any(|pair| pair.starts_with("cursor="));
    html! {
        div class="pager" {
            span { (tell_count(shown as u64)) " shown" }
            span class="row" {
                @if !is_first {
                    a class="btn small" href=(page_address(path, query, None)) { "Newest" }
                }
                @if let Some(next) = next {
                    a class="btn small" rel="next" href=(page_address(path, query, Some(next))) {
                        "Older"
                    }
                }
            }
        }
    }
}

/// Returns the text of a filter's field, or `None` if it was left empty.
pub fn filled(text: Option<&String>) -> Option<&str> {
    text.map(|text| text.trim()).filter(|text| !text.is_empty())
}

/// The time spans that a list offers: value, label and seconds.
pub const SPANS: [(&str, &str, u64); 4] = [
    ("1h", "last hour", 3_600),
    ("24h", "last 24 hours", 86_400),
    ("7d", "last 7 days", 7 * 86_400),
    ("30d", "last 30 days", 30 * 86_400),
];

/// Returns the choice of a time span.
pub fn span_choice(chosen: Option<&str>) -> FilterChoice<'_> {
    let values = SPANS.iter().map(|(value, label, _)| FilterValue::labelled(value, label));
    let values = values.collect();
    FilterChoice { name: "span", label: "Time", chosen, values, any: "any time" }
}

/// Returns the seconds of a time span.
pub fn span_seconds(chosen: Option<&str>) -> Option<u64> {
    SPANS.iter().find(|(value, _, _)| Some(*value) == chosen).map(|(_, _, seconds)| *seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_page_keeps_the_filter() {
        let query = "type=a.b&source=&cursor=old";
        assert_eq!(
            page_address("/admin/events", query, Some("n w")),
            "/admin/events?type=a.b&cursor=n%20w"
        );
        assert_eq!(page_address("/admin/events", "cursor=old", None), "/admin/events");
    }
}
