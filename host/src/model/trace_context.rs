//! The trace that an event belongs to, by W3C Trace Context: `traceparent` and `tracestate`.
//!
//! An event keeps the context that it was sent with among its attributes, under the names of the
//! CloudEvents extension "Distributed Tracing". The trace of any other event has the number of the
//! event's id. So every node knows the trace of an event, also after a restart, and nothing is
//! stored for it.

use super::event::Event;
use super::id::EventId;
use crate::json::members::JsonMembers;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The header and the attribute that name the trace and the sender's span.
pub const TRACE_PARENT: &str = "traceparent";
/// The header and the attribute with what tracing systems add.
pub const TRACE_STATE: &str = "tracestate";

/// Longest `tracestate` that is kept, in bytes. The specification asks for as many (section
/// 3.3.1.5).
const MAX_STATE: usize = 512;
/// Most members of a `tracestate` (section 3.3.1.1).
const MAX_STATE_MEMBERS: usize = 32;

/// The id of a trace, never zero. Displayed as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// Returns the id of an event's trace.
    pub fn of_event(event: &Event) -> Self {
        let brought = BroughtContext::read(event.attributes.as_deref());
        brought.map_or_else(|| Self::of_event_id(event.id), |brought| brought.span.trace)
    }

    /// Returns the id of the trace of an event that brought no context.
    pub fn of_event_id(id: EventId) -> Self {
        Self(id.uuid().as_u128())
    }

    /// Returns the bytes in network order, as OTLP carries them.
    pub const fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Reads 32 hexadecimal digits in lower case, not all zero.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = read_digits(text, 32)?;
        u128::from_str_radix(digits, 16).ok().filter(|number| *number != 0).map(Self)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The id of a span, never zero. Displayed as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl SpanId {
    /// Returns the id with this number. Zero means "no span", so it becomes one.
    pub const fn new(number: u64) -> Self {
        Self(if number == 0 { 1 } else { number })
    }

    /// Returns the bytes in network order, as OTLP carries them.
    pub const fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = read_digits(text, 16)?;
        u64::from_str_radix(digits, 16).ok().filter(|number| *number != 0).map(Self)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A span, and whether it is recorded. Displayed as the value of `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanContext {
    pub trace: TraceId,
    pub span: SpanId,
    pub is_sampled: bool,
}

impl SpanContext {
    /// Reads the value of `traceparent` (section 3.2.2). Returns `None` if it is not valid. Of a
    /// later version only the known fields are read.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.trim().splitn(5, '-');
        let mut next = || fields.next();
        let version = read_digits(next()?, 2)?;
        let (trace, span) = (TraceId::parse(next()?)?, SpanId::parse(next()?)?);
        let flags = u8::from_str_radix(read_digits(next()?, 2)?, 16).ok()?;
        let is_known = version == "00" && next().is_none();
        let is_later = version != "00" && version != "ff";
        (is_known || is_later).then_some(Self { trace, span, is_sampled: flags & 1 == 1 })
    }
}

impl fmt::Display for SpanContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-0{}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

/// The context that an event was sent with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BroughtContext {
    /// The span of the sender.
    pub span: SpanContext,
    /// The `tracestate`, passed on unchanged.
    pub state: Option<String>,
}

impl BroughtContext {
    /// Reads the two values. An invalid `tracestate` does not count (section 3.3.1.4).
    pub fn parse(parent: &str, state: Option<&str>) -> Option<Self> {
        let span = SpanContext::parse(parent)?;
        let state = state.map(str::trim).filter(|state| is_trace_state(state));
        Some(Self { span, state: state.map(str::to_owned) })
    }

    /// Reads the context among the attributes of an event.
    pub fn read(attributes: Option<&RawValue>) -> Option<Self> {
        let text = attributes?.get();
        // Most events have no context, and reading all their attributes costs more than a search.
        memchr::memmem::find(text.as_bytes(), TRACE_PARENT.as_bytes())?;
        let members = JsonMembers::read(text).ok()?;
        let text = |name: &str| {
            let value = members.get(name)?.get();
            serde_json::from_str::<Cow<'_, str>>(value).ok()
        };
        Self::parse(&text(TRACE_PARENT)?, text(TRACE_STATE).as_deref())
    }
}

fn is_trace_state(state: &str) -> bool {
    let is_member = |member: &str| member.trim().is_empty() || member.contains('=');
    (1..=MAX_STATE).contains(&state.len())
        && state.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
        && state.split(',').all(is_member)
        && state.split(',').count() <= MAX_STATE_MEMBERS
}

/// Returns the text if it is this many hexadecimal digits in lower case.
fn read_digits(text: &str, length: usize) -> Option<&str> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == length && text.bytes().all(is_digit)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_is_read_and_written() {
        let read = SpanContext::parse(PARENT).unwrap();
        assert!(read.is_sampled);
        assert_eq!(read.to_string(), PARENT);
        assert_eq!(read.trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        let unsampled = SpanContext::parse(&PARENT.replace("-01", "-00")).unwrap();
        assert!(!unsampled.is_sampled && unsampled.to_string().ends_with("-00"));
        let later = format!("{}-what-comes-later", PARENT.replacen("00", "cc", 1));
        assert_eq!(SpanContext::parse(&later), Some(read));
    }

    #[test]
    fn what_is_not_valid_is_not_read() {
        for text in [
            "",
            "00",
            PARENT.trim_end_matches('1'),
            &PARENT.to_uppercase(),
            &PARENT.replacen("00", "ff", 1),
            &format!("{PARENT}-more"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333é-01",
        ] {
            assert_eq!(SpanContext::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_event_has_the_trace_it_brought_or_that_of_its_id() {
        let read = |text: &str| {
            let raw = RawValue::from_string(text.to_owned()).unwrap();
            BroughtContext::read(Some(&raw))
        };
        let text = format!(r#"{{"a":1,"tracestate":"x=1, y=2","traceparent":"{PARENT}"}}"#);
        let brought = read(&text).unwrap();
        assert_eq!(brought.state.as_deref(), Some("x=1, y=2"));
        assert_eq!(brought.span.to_string(), PARENT);
        for text in [r#"{"traceparent":5}"#, r#"{"note":"traceparent"}"#, "{}"] {
            assert_eq!(read(text), None, "{text}");
        }
        let id: EventId = "evt_01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        assert_eq!(TraceId::of_event_id(id).to_string(), "01890a5dac96774bbcceb302099a8057");
    }

    #[test]
    fn a_long_or_malformed_state_is_left_out() {
        let state = |text: &str| BroughtContext::parse(PARENT, Some(text)).unwrap().state;
        assert_eq!(state(" a=b ").as_deref(), Some("a=b"));
        let many = vec!["a=b"; MAX_STATE_MEMBERS + 1].join(",");
        for text in ["", "novalue", "a=\u{e9}", &"a".repeat(MAX_STATE + 1), &many] {
            assert_eq!(state(text), None, "{text}");
        }
    }
}
