//! Resolves JSON pointers (RFC 6901) in raw JSON text.

use super::members::JsonMembers;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Returns the value at a JSON pointer, or `None` if a step leads nowhere.
pub fn find_value<'a>(body: &'a RawValue, pointer: &str) -> Option<&'a RawValue> {
    pointer.split('/').skip(1).try_fold(body, take_step)
}

/// Follows one reference token of a JSON pointer: an index of an array or the name of a member.
pub fn take_step<'a>(value: &'a RawValue, token: &str) -> Option<&'a RawValue> {
    if value.get().starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
        return items.get(token.parse::<usize>().ok()?).copied();
    }
    JsonMembers::read(value.get()).ok()?.get(&unescape_token(token))
}

/// Decodes `~1` to `/` and `~0` to `~`.
pub fn unescape_token(token: &str) -> Cow<'_, str> {
    if token.contains('~') {
        Cow::Owned(token.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(token)
    }
}
