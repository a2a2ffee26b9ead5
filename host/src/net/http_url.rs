//! Reads URLs that people write: of endpoints, and of APIs that sources read.
//!
//! URLs are read as browsers read them (WHATWG URL Standard): non-ASCII characters and spaces are
//! encoded, and an international host name is converted to ASCII. URLs that no client could reach
//! are refused with a reason.

use http::Uri;
use url::{Host, ParseError, Url};

/// Longest host name, and longest label in it, in bytes (RFC 1035, section 2.3.4).
const MAX_HOST: (usize, usize) = (253, 63);

/// Reads an `http` or `https` URL to send requests to. The error says what is wrong with the text.
pub fn read_http_url(text: &str) -> Result<Uri, String> {
    let url = read_url(text, &["https", "http"])?;
    url.as_str().parse().map_err(|why| format!("`{text}` is not a URL: {why}"))
}

/// Reads a URL with one of these schemes and removes its fragment. The error says what is wrong
/// with the text.
pub fn read_url(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let begins = |scheme: &&str| {
        let start = text.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && text.get(scheme.len()..).is_some_and(|rest| rest.starts_with("://"))
    };
    if !schemes.iter().any(begins) {
        let schemes: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
        return Err(format!("`{text}` must begin with {}", schemes.join(" or ")));
    }
    if text.chars().any(char::is_control) || text.trim() != text {
        return Err(
            "a URL must not contain line breaks or control characters, or spaces around it"
                .to_owned(),
        );
    }
    let mut url = Url::parse(text).map_err(|why| explain(text, why))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials in a URL end up in logs; set them in `headers` or `settings`, or as the `secret` of a source".to_owned());
    }
    if url.port() == Some(0) {
        return Err(explain(text, ParseError::InvalidPort));
    }
    if url.host_str().is_none_or(str::is_empty) && url.scheme() != "file" {
        return Err(explain(text, ParseError::EmptyHost));
    }
    check_host(&url)?;
    url.set_fragment(None);
    Ok(url)
}

fn check_host(url: &Url) -> Result<(), String> {
    let Some(Host::Domain(name)) = url.host() else { return Ok(()) };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > MAX_HOST.0 {
        return Err(format!("the host name is longer than {} bytes", MAX_HOST.0));
    }
    match name.split('.').find(|label| label.is_empty() || label.len() > MAX_HOST.1) {
        Some("") => Err(format!("the host name `{name}` has nothing between two dots")),
        Some(label) => {
            Err(format!("`{label}` in the host name is longer than {} bytes", MAX_HOST.1))
        }
        None => Ok(()),
    }
}

fn explain(text: &str, why: ParseError) -> String {
    if why == ParseError::InvalidPort {
        "the port must be a number from 1 to 65535".to_owned()
    } else if why == ParseError::EmptyHost {
        format!("`{text}` has no host")
    } else if matches!(why, ParseError::IdnaError | ParseError::InvalidDomainCharacter) {
        format!("the host in `{text}` is not a valid name")
    } else {
        format!("`{text}` is not a URL: {why}; try https://host/path")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_other_clients_accept_are_accepted() {
        for (text, read) in [
            ("http://127.0.0.1:8080/ok?u=ü", "http://127.0.0.1:8080/ok?u=%C3%BC"),
            ("http://h.example/Straße/客户", "http://h.example/Stra%C3%9Fe/%E5%AE%A2%E6%88%B7"),
            ("http://bücher.example/hook", "http://xn--bcher-kva.example/hook"),
            ("https://例え.テスト/", "https://xn--r8jz45g.xn--zckzah/"),
            ("https://h.example/a b?c d", "https://h.example/a%20b?c%20d"),
            (
                "https://h.example/%C3%BC?x=%2F&y=[1]{2}|",
                "https://h.example/%C3%BC?x=%2F&y=[1]{2}|",
            ),
            ("HTTPS://H.Example:443", "https://h.example/"),
            ("https://h.example./x#part", "https://h.example./x"),
            ("http://[::1]:9000/x", "http://[::1]:9000/x"),
            ("http://my_host:9000/x", "http://my_host:9000/x"),
        ] {
            assert_eq!(read_http_url(text).unwrap().to_string(), read, "{text}");
        }
    }

    #[test]
    fn urls_that_cannot_work_are_refused_with_a_reason() {
        let long = format!("https://{}.example/", "a".repeat(64));
        for (text, word) in [
            ("", "begin with https://"),
            ("ftp://h.example/", "begin with https://"),
            ("http:/h.example/", "begin with https://"),
            ("http://", "has no host"),
            ("http://127.0.0.1:99999/ok", "port"),
            ("https://127.0.0.1:70000/ok", "port"),
            ("https://127.0.0.1:0/", "port"),
            ("https://h.example:x/", "port"),
            ("https://u:p@h.example/", "credentials"),
            ("https://u@h.example/", "credentials"),
            ("https://a..example/", "between two dots"),
            (&long, "longer than 63 bytes"),
            ("https://h ost.example/", "not a valid name"),
            ("https://999.1.1.1/", "not a URL"),
            ("https://h.example/\n", "line breaks"),
            (" https://h.example/", "begin with https://"),
        ] {
            let refused = read_http_url(text).unwrap_err();
            assert!(refused.contains(word), "{text}: {refused}");
        }
    }
}
