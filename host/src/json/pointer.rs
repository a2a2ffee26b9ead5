//! JSON pointers (RFC 6901) into texts that stay as they are.

use super::members::JsonMembers;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What stands at a JSON pointer (RFC 6901).
pub fn find_value<'a>(body: &'a RawValue, pointer: &str) -> Option<&'a RawValue> {
    pointer.split('/').skip(1).try_fold(body, take_step)
}

/// One step of a JSON pointer.
pub fn take_step<'a>(value: &'a RawValue, token: &str) -> Option<&'a RawValue> {
    if value.get().starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
        return items.get(token.parse::<usize>().ok()?).copied();
    }
    JsonMembers::read(value.get()).ok()?.get(&unescape_token(token))
}

pub fn unescape_token(token: &str) -> Cow<'_, str> {
    if token.contains('~') {
        Cow::Owned(token.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(token)
    }
}
