//! Signs of states: always an icon and a word, never only a colour.

use maud::{Markup, html};

/// How good a state is. The tone selects the colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateTone {
    /// Arrived, or well.
    Ok,
    /// In progress. Nothing to do.
    Run,
    /// Failed and will be retried automatically, or should be checked.
    Warn,
    /// Needs a person.
    Bad,
    /// Ended by a rule, or switched off.
    Idle,
}

impl StateTone {
    /// Returns the class in the style sheet.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Run => "run",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Idle => "idle",
        }
    }
}

/// A state: an icon, a tone and a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateSign {
    pub icon: &'static str,
    pub tone: StateTone,
    pub word: &'static str,
}

macro_rules! state_signs {
    ($($name:ident = $icon:literal $tone:ident $word:literal;)*) => {
        impl StateSign {
            $(pub const $name: Self = Self { icon: $icon, tone: StateTone::$tone, word: $word };)*
        }
    };
}

state_signs! {
    DELIVERED = "ok" Ok "Delivered";
    PARTLY = "retry" Warn "Partly delivered";
    DELIVERING = "wait" Run "Delivering";
    WAITING = "wait" Run "Waiting";
    RETRYING = "retry" Warn "Retrying";
    REFUSED = "miss" Warn "Failed";
    ANSWERED = "ok" Ok "Delivered";
    DEAD = "bad" Bad "Dead letter";
    DROPPED = "drop" Idle "Dropped";
    NOT_SENT = "drop" Idle "Not sent";
    COLLAPSED = "merge" Idle "Collapsed";
    CANCELLED = "drop" Idle "Called off";
    NO_FLOW = "none" Idle "No flow";
    UNKNOWN = "none" Idle "Not known any more";
    PLANNING = "wait" Run "Modules run";
    REPLAYING = "run" Run "Replaying";
    WELL = "ok" Ok "Well";
    FAILING = "bad" Bad "Failing";
    LOCKED = "bad" Bad "Secrets unreadable";
    SLOWED = "warn" Warn "Slowed down";
    PAUSED = "pause" Idle "Paused";
    QUIET = "none" Idle "Nothing sent yet";
    REJECTING = "warn" Warn "Rejecting";
    RUNNING = "run" Run "Running";
    ACTIVE = "ok" Ok "Active";
    KEPT = "none" Idle "Kept";
    ENDED = "drop" Idle "Ended";
    UP = "ok" Ok "Up";
    FIRING = "bad" Bad "Firing";
    WARNED = "warn" Warn "Firing";
    PENDING = "wait" Run "Pending";
    RESOLVED = "ok" Ok "Resolved";
    WARNING = "warn" Warn "Wants a look";
    COMPLETE = "ok" Ok "Complete";
    GAPS = "bad" Bad "Gaps";
    NO_EVENTS = "none" Idle "No events";
    NOT_COUNTED = "none" Idle "Not looked at";
    WAS_DISABLED = "pause" Warn "Was disabled";
    MODULES_FAILED = "bad" Bad "Modules failed";
    NOT_PLANNED = "bad" Bad "Not planned";
    ROW_UNREAD = "bad" Bad "Row not read";
}

impl StateSign {
    /// Draws the sign for a table or a list.
    pub fn draw(self) -> Markup {
        self.draw_with(self.word)
    }

    /// Draws the sign with other words.
    pub fn draw_with(self, words: &str) -> Markup {
        html! { span class={ "st " (self.tone.class()) } { (draw_icon(self.icon)) (words) } }
    }

    /// Draws the sign for the head of a page.
    pub fn draw_pill(self) -> Markup {
        html! {
            span class={ "st " (self.tone.class()) " pill" } { (draw_icon(self.icon)) (self.word) }
        }
    }
}

/// Draws one of the icons of [`draw_sprite`].
pub fn draw_icon(name: &str) -> Markup {
    html! { svg class="i" aria-hidden="true" { use href={ "#i-" (name) } {} } }
}

/// The icons: name, whether it has a circle, and paths, on a square of 16 by 16.
const ICONS: [(&str, bool, &[&str]); 18] = [
    ("ok", true, &["m5.3 8.2 1.9 1.9 3.6-4"]),
    ("bad", false, &["M5.4 1.8h5.2l3.6 3.6v5.2l-3.6 3.6H5.4l-3.6-3.6V5.4z", "m6 6 4 4m0-4-4 4"]),
    ("warn", false, &["M8 2 14.4 13.4H1.6z", "M8 6.4v3M8 11.4v.1"]),
    ("wait", true, &["M8 4.6V8l2.3 1.5"]),
    ("retry", false, &["M13.4 8A5.4 5.4 0 1 1 11.6 4M13.6 1.8v3h-3"]),
    ("drop", true, &["m3.8 12.2 8.4-8.4"]),
    ("merge", false, &["M3 2.5c0 4 5 3.5 5 7.5v3.5M13 2.5c0 4-5 3.5-5 7.5M6 11.6l2 2 2-2"]),
    ("pause", true, &["M6.4 5.8v4.4M9.6 5.8v4.4"]),
    ("run", true, &["M6.6 5.6v4.8L10.4 8z"]),
    ("miss", true, &["m5.8 5.8 4.4 4.4m0-4.4-4.4 4.4"]),
    ("diff", false, &["M8 2.5v5M5.5 5h5M5.5 12.5h5"]),
    ("none", false, &["M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8z"]),
    ("cap", false, &["M2.4 8.6v4.8h11.2V8.6M8 2v7.6M5 6.8l3 3 3-3"]),
    ("mod", false, &["M8 1.9 13.4 5v6L8 14.1 2.6 11V5zM2.6 5 8 8l5.4-3M8 8v6"]),
    ("send", false, &["M2.4 8h10.8M9 3.8 13.2 8 9 12.2"]),
    ("mark", false, &["M2 4h12M2 8h12M2 12h7M11.4 10.2l2.2 2-2.2 2"]),
    ("menu", false, &["M2.5 4.5h11M2.5 8h11M2.5 11.5h11"]),
    ("chev", false, &["m6 3.5 4.5 4.5L6 12.5"]),
];

/// Draws the definitions of all icons, once in a page.
pub fn draw_sprite() -> Markup {
    html! {
        svg width="0" height="0" aria-hidden="true" focusable="false" {
            @for (name, has_ring, paths) in ICONS {
                symbol id={ "i-" (name) } viewBox="0 0 16 16" {
                    @if has_ring { circle cx="8" cy="8" r="6.2" {} }
                    @for path in paths {
                        path d=(path) stroke-dasharray=[(name == "none").then_some("2.4 2.5")] {}
                    }
                }
            }
        }
    }
}
