//! Prepares an HMAC rule: finds the signatures of a request, and computes the expected one.

use super::form::form_fields;
use super::{WebhookRefusal, WebhookRequest, text};
use crate::crypto::sha256;
use crate::model::attributes::is_form;
use crate::model::signature_rule::{HashAlgorithm, HmacRule, KeyForm, SignatureEncoding};
use crate::model::webhook_source::template;
use crate::model::webhook_source::template::TemplatePiece;
use crate::signing::standard_key;
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::HOST;
use http::{HeaderMap, header};
use ring::hmac;
use std::borrow::Cow;
use subtle::ConstantTimeEq as _;

/// Accepts either alphabet of base64, with or without padding.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// An HMAC rule, parsed once.
pub struct PreparedRule {
    algorithm: hmac::Algorithm,
    pub header: String,
    encoding: SignatureEncoding,
    prefix: String,
    part: Option<String>,
    timestamp: Option<TimePlace>,
    id: Option<String>,
    signed: Vec<TemplatePiece>,
    key: KeyForm,
}

/// The place of the signed time in a request.
enum TimePlace {
    Header(String),
    Part(String),
}

/// The contents that may have been signed: each possible address with each form of the body.
pub struct SignedForms<'r> {
    method: &'r str,
    urls: Vec<String>,
    bodies: Vec<SignedBody<'r>>,
}

/// A body, either as it arrived or decompressed.
struct SignedBody<'r> {
    body: &'r [u8],
    /// The form's fields in the order in which they are signed. Empty unless the rule signs fields.
    fields: Vec<(String, String)>,
}

/// The signatures of a request, with the signed time and id.
pub struct WebhookClaim<'h> {
    signatures: Vec<&'h str>,
    /// The signed time as it is written.
    pub at: Option<&'h str>,
    id: Option<&'h str>,
}

/// Whether a secret can be read as a key of this form.
pub fn is_key(form: KeyForm, secret: &str) -> bool {
    key_bytes(form, secret).is_some_and(|bytes| !bytes.is_empty())
}

fn key_bytes(form: KeyForm, secret: &str) -> Option<Cow<'_, [u8]>> {
    let text = || Cow::Borrowed(secret.as_bytes());
    match form {
        KeyForm::Text => Some(text()),
        KeyForm::Hex => hex::decode(secret.trim()).ok().map(Cow::Owned),
        KeyForm::Base64 => decode_base64(secret.trim()).map(Cow::Owned),
        // A `whsec_` secret that is not base64 belongs to another scheme, so it is used as it is
        // written.
        KeyForm::Standard => Some(standard_key(secret).map_or_else(|_| text(), Cow::Owned)),
    }
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).or_else(|_| BASE64_URL.decode(text)).ok()
}

impl PreparedRule {
    /// Prepares a rule that was checked before.
    pub fn new(rule: &HmacRule<'_>) -> Self {
        let place = |place: &str| match (place.strip_prefix("header:"), place.strip_prefix("part:"))
        {
            (Some(name), _) => Some(TimePlace::Header(name.to_owned())),
            (None, Some(name)) => Some(TimePlace::Part(name.to_owned())),
            (None, None) => None,
        };
        Self {
            algorithm: match rule.algorithm {
                HashAlgorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                HashAlgorithm::Sha256 => hmac::HMAC_SHA256,
                HashAlgorithm::Sha384 => hmac::HMAC_SHA384,
                HashAlgorithm::Sha512 => hmac::HMAC_SHA512,
            },
            header: rule.header.to_ascii_lowercase(),
            encoding: rule.encoding,
            prefix: rule.prefix.to_owned(),
            part: rule.part.map(str::to_owned),
            timestamp: rule.timestamp.and_then(place),
            id: rule.id.map(str::to_owned),
            signed: template::parse_template(rule.signed)
                .unwrap_or_else(|_| vec![TemplatePiece::Body]),
            key: rule.key,
        }
    }

    /// Returns the key of a secret. A secret that cannot be read was refused when it was set.
    pub fn key(&self, secret: &str) -> hmac::Key {
        let bytes = key_bytes(self.key, secret);
        hmac::Key::new(self.algorithm, bytes.as_deref().unwrap_or(secret.as_bytes()))
    }

    /// Whether the signature covers the address.
    pub fn signs_address(&self) -> bool {
        self.signed.contains(&TemplatePiece::Url)
    }

    /// Finds the signatures of a request.
    pub fn claim<'h>(&self, headers: &'h HeaderMap) -> Result<WebhookClaim<'h>, WebhookRefusal> {
        let value = text(headers, &self.header)?;
        let parts = |wanted: &str| -> Vec<&'h str> {
            let parts = value.split([',', ';']).filter_map(|part| part.trim().split_once('='));
            parts.filter(|(name, _)| *name == wanted).map(|(_, text)| text).collect()
        };
        let signatures: Vec<&str> = if let Some(part) = &self.part {
            parts(part)
        } else {
            let entries = value.split_ascii_whitespace();
            let entries = entries.filter_map(|entry| entry.strip_prefix(self.prefix.as_str()));
            entries.flat_map(|entry| entry.split(',')).collect()
        };
        let form = || WebhookRefusal::Form(self.header.clone(), self.form());
        if signatures.is_empty() {
            return Err(form());
        }
        let at = match &self.timestamp {
            None => None,
            Some(TimePlace::Header(name)) => Some(text(headers, name)?),
            Some(TimePlace::Part(name)) => match parts(name).as_slice() {
                [at] => Some(*at),
                _ => return Err(form()),
            },
        };
        let id = self.id.as_deref().map(|name| text(headers, name)).transpose()?;
        Ok(WebhookClaim { signatures, at, id })
    }

    /// Returns the contents that may have been signed. `set` is the address that the operator
    /// configured as the one that the sender calls.
    pub fn signed_forms<'r>(
        &self,
        set: Option<&str>,
        request: &WebhookRequest<'r>,
    ) -> SignedForms<'r> {
        let urls = if self.signs_address() { addresses(set, request) } else { vec![String::new()] };
        let plain = (request.body != request.plain).then_some(request.plain);
        let has_form = self.signed.contains(&TemplatePiece::Form);
        let bodies = std::iter::once(request.body).chain(plain);
        let bodies = bodies.filter_map(|body| {
            let fields = if has_form { signed_fields(request, body)? } else { Vec::new() };
            Some(SignedBody { body, fields })
        });
        SignedForms { method: request.method.as_str(), urls, bodies: bodies.collect() }
    }

    /// Describes the form of the header for a message.
    fn form(&self) -> String {
        let encoding = match self.encoding {
            SignatureEncoding::Hex => "HEX",
            SignatureEncoding::Base64 => "BASE64",
        };
        match (&self.part, &self.timestamp) {
            (Some(part), Some(TimePlace::Part(time))) => {
                format!("{time}=SECONDS,{part}={encoding}")
            }
            (Some(part), _) => format!("{part}={encoding}"),
            (None, _) => format!("{}{encoding}", self.prefix),
        }
    }

    /// Computes the signature with this key. Returns it if the request carries it.
    pub fn fits(
        &self,
        key: &hmac::Key,
        claim: &WebhookClaim<'_>,
        forms: &SignedForms<'_>,
    ) -> Option<Vec<u8>> {
        forms.bodies.iter().find_map(|body| {
            forms.urls.iter().find_map(|url| {
                let wanted = self.code(key, claim, forms.method, body, url);
                // All signatures are compared, so that the time reveals nothing.
                let compared =
                    claim.signatures.iter().map(|text| self.equals(wanted.as_ref(), text));
                compared.fold(false, |any, one| any | one).then(|| wanted.as_ref().to_vec())
            })
        })
    }

    /// Computes the HMAC of a request.
    fn code(
        &self,
        key: &hmac::Key,
        claim: &WebhookClaim<'_>,
        method: &str,
        body: &SignedBody<'_>,
        url: &str,
    ) -> hmac::Tag {
        let mut context = hmac::Context::with_key(key);
        for piece in &self.signed {
            match piece {
                TemplatePiece::Text(text) => context.update(text.as_bytes()),
                TemplatePiece::Body => context.update(body.body),
                TemplatePiece::Timestamp => context.update(claim.at.unwrap_or_default().as_bytes()),
                TemplatePiece::Id => context.update(claim.id.unwrap_or_default().as_bytes()),
                TemplatePiece::Url => context.update(url.as_bytes()),
                TemplatePiece::Method => context.update(method.as_bytes()),
                TemplatePiece::Form => {
                    for (name, value) in &body.fields {
                        context.update(name.as_bytes());
                        context.update(value.as_bytes());
                    }
                }
            }
        }
        context.sign()
    }

    fn equals(&self, wanted: &[u8], text: &str) -> bool {
        let given = match self.encoding {
            SignatureEncoding::Hex => hex::decode(text).ok(),
            SignatureEncoding::Base64 => decode_base64(text),
        };
        given.is_some_and(|given| wanted.ct_eq(&given).into())
    }
}

/// Returns the fields of a form, sorted and without duplicates. For another kind of body the list
/// is empty. Returns `None` if the query lacks the SHA-256 of such a body, because then the sender
/// did not sign the body.
fn signed_fields(request: &WebhookRequest<'_>, body: &[u8]) -> Option<Vec<(String, String)>> {
    let media = request.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if media.is_some_and(is_form) || body.is_empty() {
        let mut fields = form_fields(body).ok()?;
        fields.sort();
        fields.dedup();
        return Some(fields);
    }
    let query: Vec<(String, String)> = serde_urlencoded::from_str(request.uri.query()?).ok()?;
    let (_, given) = query.iter().find(|(name, _)| name == "bodySHA256")?;
    let given = hex::decode(given).ok()?;
    bool::from(sha256::sha256_digest(&[body]).ct_eq(&given)).then(Vec::new)
}

/// Returns the addresses that the sender may have called. If none is configured, the request's host
/// is used with both `https` and `http`, because a proxy may have terminated TLS. The signature
/// decides which address was called.
fn addresses(set: Option<&str>, request: &WebhookRequest<'_>) -> Vec<String> {
    let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut addresses = if let Some(url) = set {
        // Twilio appends to the configured query. A proxy may drop a query that is configured.
        let base = url.split('?').next().unwrap_or(url);
        let called = request.uri.query().map(|query| format!("{base}?{query}"));
        let set = (called.is_none() || url != base).then(|| url.to_owned());
        set.into_iter().chain(called).collect()
    } else {
        let host = request.headers.get(HOST).and_then(|value| value.to_str().ok());
        let authority = request.uri.authority().map(http::uri::Authority::as_str);
        let host = host.or(authority).unwrap_or_default();
        vec![format!("https://{host}{path}"), format!("http://{host}{path}")]
    };
    // HubSpot signs some characters of the query in decoded form ("Validating requests").
    let decoded: Vec<String> = addresses.iter().filter_map(|url| readable(url)).collect();
    addresses.extend(decoded);
    addresses
}

/// Decodes the characters that HubSpot decodes. Returns `None` if the address contains none of
/// them.
fn readable(url: &str) -> Option<String> {
    const DECODED: [(&str, &str); 11] = [
        ("%3A", ":"),
        ("%2F", "/"),
        ("%3F", "?"),
        ("%40", "@"),
        ("%21", "!"),
        ("%24", "$"),
        ("%27", "'"),
        ("%28", "("),
        ("%29", ")"),
        ("%2A", "*"),
        ("%2C", ","),
    ];
    if !url.contains('%') {
        return None;
    }
    let decoded = DECODED.iter().fold(url.to_owned(), |url, (code, text)| {
        url.replace(code, text).replace(&code.to_ascii_lowercase(), text)
    });
    (decoded != url).then_some(decoded)
}
