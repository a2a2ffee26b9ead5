//! Formats times, ids, counts and long texts for people.

use crate::time::timestamp::Timestamp;
use maud::{Markup, html};
use std::time::Duration;

/// Number of final characters that identify an id. Its first characters are a time, and so similar
/// for neighbouring ids.
const TELLING: usize = 8;
/// Longest text that a page shows for one value, in bytes.
const LONGEST_TEXT: usize = 32 * 1024;

/// Draws how long ago something was, up to a day, then the date. The title holds the exact time.
pub fn draw_age(now: Timestamp, at: Timestamp) -> Markup {
    let ago = now.since(at);
    let words = match ago.as_secs() {
        0 => "just now".to_owned(),
        1..86_400 => format!("{} ago", tell_span(ago)),
        _ => at.to_string().get(..10).unwrap_or_default().to_owned(),
    };
    draw_time(at, &words)
}

/// Says how long ago something was, as part of a sentence.
pub fn tell_ago(now: Timestamp, at: Timestamp) -> String {
    let ago = now.since(at);
    if ago.as_secs() == 0 { "just now".to_owned() } else { format!("{} ago", tell_span(ago)) }
}

/// Draws since when a state lasts: the time of day, and the duration.
pub fn draw_since(now: Timestamp, at: Timestamp) -> Markup {
    let ago = now.since(at);
    let text = at.to_string();
    let is_today = ago.as_secs() < 86_400;
    let words = if is_today { text.get(11..16) } else { text.get(..10) };
    html! {
        "since " (draw_time(at, words.unwrap_or_default()))
        " " span { (tell_span(ago)) }
    }
}

/// Draws when something is due.
pub fn draw_due(now: Timestamp, at: Timestamp) -> Markup {
    if at.since(now).as_secs() == 0 {
        return draw_time(at, "now");
    }
    draw_time(at, &format!("in {}", tell_span(at.since(now))))
}

/// Draws the time of day, for lists in which the order matters.
pub fn draw_clock(at: Timestamp) -> Markup {
    draw_time(at, &tell_clock(at))
}

/// Draws a time with other words. The title holds the exact time.
pub fn draw_time(at: Timestamp, words: &str) -> Markup {
    let exact = at.to_string();
    let title = exact.replace('T', " ").replace('Z', " UTC");
    html! { time datetime=(exact) title=(title) { (words) } }
}

/// Returns the time of day in UTC, with seconds.
pub fn tell_clock(at: Timestamp) -> String {
    at.to_string().get(11..19).unwrap_or_default().to_owned()
}

/// Returns a time span in its largest unit.
pub fn tell_span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => "0 s".to_owned(),
        1..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Returns a short time span, such as that of a request.
pub fn tell_millis(millis: f64) -> String {
    if millis < 1.0 {
        format!("{millis:.1} ms")
    } else if millis < 1_000.0 {
        format!("{millis:.0} ms")
    } else {
        format!("{:.1} s", millis / 1e3)
    }
}

/// Returns a number with separators between its thousands.
pub fn tell_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number with its noun: `1 delivery`, `2 deliveries`.
pub fn tell_number(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", tell_count(count), if count == 1 { one } else { many })
}

/// Draws an id as a link. The title holds the whole id.
pub fn draw_id(id: &str, address: &str) -> Markup {
    html! { a class="id nw" href=(address) title=(id) { (short_id(id)) } }
}

/// Shortens an id to its prefix and the part that differs between ids of the same second.
pub fn short_id(id: &str) -> String {
    let prefix = id.split_once('_').map_or("", |(prefix, _)| prefix);
    let start = id.len().saturating_sub(TELLING);
    format!("{prefix}_…{}", id.get(start..).unwrap_or(id))
}

/// Returns the part of a long text that a page shows, and a sentence if the text was cut.
pub fn cut_text(text: &str) -> (&str, Option<String>) {
    if text.len() <= LONGEST_TEXT {
        return (text, None);
    }
    let end = text.floor_char_boundary(LONGEST_TEXT);
    let said = format!(
        "Cut here: these are the first {} of {} bytes.",
        tell_count(end as u64),
        tell_count(text.len() as u64)
    );
    (text.get(..end).unwrap_or_default(), Some(said))
}

/// Draws text in a fixed-width font, cut if it is long.
pub fn draw_code(label: &str, text: &str) -> Markup {
    let (shown, cut) = cut_text(text);
    html! {
        pre class="code" role="region" tabindex="0" aria-label=(label) { (shown) }
        @if let Some(cut) = cut { p class="hint" { (cut) } }
    }
}

/// Draws a sentence in which backticks mark names, as in the descriptions of the API.
pub fn draw_prose(text: &str) -> Markup {
    html! {
        @for (n, part) in text.split('`').enumerate() {
            @if n % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// Returns JSON with line breaks, or the unchanged text if it is not JSON.
pub fn indent_json(text: &str) -> String {
    // Of longer texts a page shows only the beginning, so parsing them is not worth it.
    if text.len() > LONGEST_TEXT * 8 {
        return text.to_owned();
    }
    let read: Result<serde_json::Value, _> = serde_json::from_str(text);
    let indented = read.ok().and_then(|value| serde_json::to_string_pretty(&value).ok());
    indented.unwrap_or_else(|| text.to_owned())
}

/// Encodes a text as part of a query.
pub fn encode_query(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spans_read_well() {
        assert_eq!(tell_count(1_234_567), "1,234,567");
        assert_eq!(tell_count(999), "999");
        assert_eq!(tell_number(1, "delivery", "deliveries"), "1 delivery");
        assert_eq!(tell_span(Duration::from_secs(3_700)), "1 h");
        assert_eq!([0.42, 999.0, 2_312.0].map(tell_millis), ["0.4 ms", "999 ms", "2.3 s"]);
    }

    #[test]
    fn ids_are_told_apart_by_their_end() {
        assert_eq!(short_id("evt_01932f00-0000-7000-8000-0123456789ab"), "evt_…456789ab");
    }

    #[test]
    fn names_between_backticks_are_code_and_nothing_else_is() {
        let drawn = draw_prose("`http` or <b>").into_string();
        assert_eq!(drawn, "<code>http</code> or &lt;b&gt;");
    }

    #[test]
    fn long_texts_are_cut_with_a_sentence() {
        let text = "ä".repeat(LONGEST_TEXT);
        let (shown, cut) = cut_text(&text);
        assert!(shown.len() <= LONGEST_TEXT && cut.unwrap().contains("65,536 bytes"));
        assert_eq!(cut_text("short"), ("short", None));
    }
}
