//! Signs HTTP requests for services of Amazon Web Services and those that speak like them, by
//! Signature Version 4 (AWS, "Create a signed AWS API request").

use crate::crypto::sha256::{MacKey, sha256_digest};
use crate::time::timestamp::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use percent_encoding::{
    AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode, utf8_percent_encode,
};
use std::fmt;

/// The time of the signature. Services refuse one that is more than 15 minutes off.
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
/// The session token of temporary credentials.
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
/// The digest of the body, which only S3 wants among the headers.
const CONTENT: HeaderName = HeaderName::from_static("x-amz-content-sha256");
/// The name of S3 in signatures. Its paths are encoded once, those of all others twice.
pub const S3: &str = "s3";

/// The characters that a canonical request encodes: all but the unreserved ones of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for a path, whose segments stay apart.
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// Encodes a path as the signature expects it, with its slashes kept.
pub fn encode_path(path: &str) -> String {
    utf8_percent_encode(path, ENCODED_PATH).to_string()
}

/// The keys of an account, and the region and service that its signatures are for.
#[derive(Clone, PartialEq, Eq)]
pub struct AwsSigner {
    pub access_key: String,
    pub secret_key: String,
    /// The session token of temporary credentials.
    pub token: Option<String>,
    pub region: String,
    pub service: String,
}

impl fmt::Debug for AwsSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsSigner")
            .field("region", &self.region)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

/// The request to sign, without its headers.
#[derive(Debug, Clone, Copy)]
pub struct UnsignedRequest<'a> {
    pub method: &'a Method,
    /// Absolute, with its path and query percent-encoded.
    pub uri: &'a Uri,
    pub body: &'a [u8],
}

impl AwsSigner {
    /// Signs a request: adds the date, the session token and the signature. The headers that are
    /// there already are signed too, except `user-agent`, which proxies change.
    pub fn sign(
        &self,
        request: UnsignedRequest<'_>,
        at: Timestamp,
        headers: &mut HeaderMap,
    ) -> Result<(), header::InvalidHeaderValue> {
        let time = at.basic_text();
        let digest = hex::encode(sha256_digest(&[request.body]));
        headers.insert(DATE, HeaderValue::try_from(&time)?);
        if let Some(token) = &self.token {
            headers.insert(TOKEN, HeaderValue::try_from(token)?);
        }
        if self.service == S3 {
            headers.insert(CONTENT, HeaderValue::try_from(&digest)?);
        }
        let (names, lines) = canonical_headers(request.uri, headers);
        let canonical = [
            request.method.as_str(),
            &self.canonical_path(request.uri.path()),
            &canonical_query(request.uri.query().unwrap_or_default()),
            &lines,
            &names,
            &digest,
        ]
        .join("\n");
        let day = time.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let canonical = hex::encode(sha256_digest(&[canonical.as_bytes()]));
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{canonical}");
        let signature = hex::encode(self.day_key(day).of(&[text.as_bytes()]));
        let value = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access_key
        );
        headers.insert(header::AUTHORIZATION, HeaderValue::try_from(value)?);
        Ok(())
    }

    /// Returns the key of a day, a region and a service.
    fn day_key(&self, day: &str) -> MacKey {
        let first = MacKey::new(format!("AWS4{}", self.secret_key).as_bytes());
        [day, &self.region, &self.service, "aws4_request"]
            .into_iter()
            .fold(first, |key, part| MacKey::new(&key.of(&[part.as_bytes()])))
    }

    fn canonical_path(&self, path: &str) -> String {
        if self.service != S3 {
            return encode_path(path);
        }
        // Clients leave characters as they are that the signature encodes.
        let plain: Vec<u8> = percent_decode_str(path).collect();
        percent_encode(&plain, ENCODED_PATH).to_string()
    }
}

/// Returns the names of the signed headers, and their lines, each with its line end.
fn canonical_headers(uri: &Uri, headers: &HeaderMap) -> (String, String) {
    let host = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    let signed = headers
        .keys()
        .filter(|name| ![header::USER_AGENT, header::AUTHORIZATION, header::HOST].contains(name));
    let mut lines: Vec<(&str, String)> = signed
        .map(|name| {
            let values = headers.get_all(name).iter().map(trim_value);
            (name.as_str(), values.collect::<Vec<String>>().join(","))
        })
        .chain([("host", host)])
        .collect();
    lines.sort();
    let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
    let mut text = String::new();
    for (name, value) in &lines {
        text.extend([*name, ":", value.as_str(), "\n"]);
    }
    (names.join(";"), text)
}

/// Returns a value without spaces at its ends, and with one space in place of several.
fn trim_value(value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    text.split(' ').filter(|part| !part.is_empty()).collect::<Vec<&str>>().join(" ")
}

/// Returns the parameters sorted, each name and value encoded once.
fn canonical_query(query: &str) -> String {
    let encode = |text: &str| {
        let plain: Vec<u8> = percent_decode_str(text).collect();
        percent_encode(&plain, ENCODED).to_string()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort();
    let pairs = pairs.into_iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<String>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(
        signer: &AwsSigner,
        (method, uri, body): (Method, &str, &str),
        at: &str,
        headers: &[(&'static str, &str)],
    ) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let uri: Uri = uri.parse().unwrap();
        let request = UnsignedRequest { method: &method, uri: &uri, body: body.as_bytes() };
        signer.sign(request, Timestamp::parse(at).unwrap(), &mut map).unwrap();
        map[header::AUTHORIZATION].to_str().unwrap().rsplit_once('=').unwrap().1.to_owned()
    }

    /// The examples of Amazon S3, API Reference, "Authenticating Requests: Using the Authorization
    /// Header".
    #[test]
    fn the_published_examples_of_s3_match() {
        let signer = AwsSigner {
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            token: None,
            region: "us-east-1".to_owned(),
            service: S3.to_owned(),
        };
        let at = "2013-05-24T00:00:00Z";
        let put =
            format!("https://examplebucket.s3.amazonaws.com/{}", encode_path("test$file.text"));
        let headers = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        let found = signature(&signer, (Method::PUT, &put, "Welcome to Amazon S3."), at, &headers);
        assert_eq!(found, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
        let lifecycle = "https://examplebucket.s3.amazonaws.com/?lifecycle";
        let found = signature(&signer, (Method::GET, lifecycle, ""), at, &[]);
        assert_eq!(found, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
        let list = "https://examplebucket.s3.amazonaws.com/?prefix=J&max-keys=2";
        let found = signature(&signer, (Method::GET, list, ""), at, &[]);
        assert_eq!(found, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
    }

    /// `get-vanilla`, `get-vanilla-query-order-key-case` and `post-vanilla` of the AWS Signature
    /// Version 4 test suite.
    #[test]
    fn the_published_test_suite_matches() {
        let signer = AwsSigner {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            token: None,
            region: "us-east-1".to_owned(),
            service: "service".to_owned(),
        };
        let at = "2015-08-30T12:36:00Z";
        for (method, path, signed) in [
            (Method::GET, "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            (
                Method::GET,
                "/?Param2=value2&Param1=value1",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (Method::POST, "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ] {
            let uri = format!("https://example.amazonaws.com{path}");
            assert_eq!(signature(&signer, (method, &uri, ""), at, &[]), signed, "{path}");
        }
    }

    #[test]
    fn spaces_of_a_value_are_signed_as_one() {
        assert_eq!(trim_value(&HeaderValue::from_static("  a   b c  ")), "a b c");
    }
}
