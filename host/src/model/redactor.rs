//! Masks secrets in answers of other servers. A server that echoes a request sends its secrets
//! back, and answers are stored, shown and given to modules.

use crate::model::private_values::MASK;
use crate::net::http_client::ClientReply;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use memchr::memmem;
use std::borrow::Cow;

/// Fewest bytes of a value to look for. Shorter ones appear everywhere by chance.
const SHORTEST: usize = 6;
/// Fewest bytes of a secret's beginning that are masked at the end of a cut-off text.
const SHORTEST_TAIL: usize = 4;

/// Finds and masks the secrets of one endpoint, or of one request, in texts.
#[derive(Default)]
pub struct SecretRedactor {
    secrets: Vec<Vec<u8>>,
}

impl std::fmt::Debug for SecretRedactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} hidden)", self.secrets.len())
    }
}

impl SecretRedactor {
    /// Creates a redactor of these values. Each is found as it is, and with `"`, `\` and `/`
    /// escaped as in JSON.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        let mut secrets = Vec::new();
        for value in values.into_iter().filter(|value| value.len() >= SHORTEST) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            // PHP and others also escape the slash, which is common in base64.
            for form in [escaped.replace('/', "\\/"), escaped, value] {
                secrets.push(form.into_bytes());
            }
        }
        let mut made = Self { secrets };
        made.put_longest_first();
        made
    }

    /// Masks the secrets of another redactor too.
    pub fn add_secrets_of(&mut self, other: Self) {
        self.secrets.extend(other.secrets);
        self.put_longest_first();
    }

    /// If one secret is part of another, nothing of the longer one must be left.
    fn put_longest_first(&mut self) {
        self.secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.secrets.dedup();
    }

    /// Returns a text with its secrets masked.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.find_all(text.as_bytes(), false) {
            None => Cow::Borrowed(text),
            Some(clean) => Cow::Owned(String::from_utf8_lossy(&clean).into_owned()),
        }
    }

    /// Returns the beginning of a body with its secrets masked. `truncated` says that the body was
    /// cut off, perhaps inside a secret.
    pub fn body(&self, body: Bytes, truncated: bool) -> Bytes {
        self.find_all(&body, truncated).map_or(body, Bytes::from)
    }

    /// Returns a reply with the secrets in its headers and its body masked.
    pub fn mask_reply(&self, mut reply: ClientReply) -> ClientReply {
        self.mask_headers(&mut reply.headers);
        reply.body = self.body(reply.body, reply.truncated);
        reply
    }

    /// Masks the secrets in the values of headers.
    pub fn mask_headers(&self, headers: &mut HeaderMap) {
        for value in headers.values_mut() {
            let text = String::from_utf8_lossy(value.as_bytes());
            if let Cow::Owned(clean) = self.text(&text)
                && let Ok(clean) = HeaderValue::try_from(clean)
            {
                *value = clean;
            }
        }
    }

    fn find_all(&self, text: &[u8], truncated: bool) -> Option<Vec<u8>> {
        let mut clean: Option<Vec<u8>> = None;
        for secret in &self.secrets {
            let present = clean.as_deref().unwrap_or(text);
            // Most answers and header values are shorter than the secrets, and cost nothing.
            if present.len() >= secret.len() && memmem::find(present, secret).is_some() {
                clean = Some(replace(present, secret));
            }
        }
        let end = clean.as_deref().unwrap_or(text);
        match truncated.then(|| self.tail(end)).flatten() {
            None => clean,
            Some(tail) => {
                let kept = end.len() - tail;
                let mut cut = end.get(..kept).unwrap_or_default().to_vec();
                cut.extend_from_slice(MASK.as_bytes());
                Some(cut)
            }
        }
    }

    /// Returns the number of bytes at the end of a text that are the beginning of a secret.
    fn tail(&self, text: &[u8]) -> Option<usize> {
        let tails = self.secrets.iter().filter_map(|secret| {
            let longest = secret.len().min(text.len());
            (SHORTEST_TAIL..=longest)
                .rev()
                .find(|n| secret.get(..*n).is_some_and(|s| text.ends_with(s)))
        });
        tails.max()
    }
}

fn replace(text: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memmem::find(rest, secret) {
        let (before, after) = rest.split_at(at);
        clean.extend_from_slice(before);
        clean.extend_from_slice(MASK.as_bytes());
        rest = after.get(secret.len()..).unwrap_or_default();
    }
    clean.extend_from_slice(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor() -> SecretRedactor {
        SecretRedactor::new([
            "Bearer abc/def+ghi".to_owned(),
            "abc/def+ghi".to_owned(),
            "on".to_owned(),
        ])
    }

    #[test]
    fn secrets_are_masked_wherever_they_appear() {
        let redactor = redactor();
        for (text, clean) in [
            ("authorization: Bearer abc/def+ghi!", "authorization: ***!"),
            (r#"{"a":"Bearer abc\/def+ghi","b":"abc\/def+ghi"}"#, r#"{"a":"***","b":"***"}"#),
            ("it is on", "it is on"),
        ] {
            assert_eq!(redactor.text(text), clean);
        }
    }

    #[test]
    fn a_text_that_ends_inside_a_secret_is_cut_before_it() {
        let body =
            |text: &'static str, cut| redactor().body(Bytes::from_static(text.as_bytes()), cut);
        assert_eq!(body("you sent Bearer abc/d", true), "you sent ***");
        assert_eq!(body("you sent abc/de", true), "you sent ***");
        assert_eq!(body("you sent abc/de", false), "you sent abc/de");
    }
}
