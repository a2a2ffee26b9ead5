//! Checks the requests of modules, and fills in what the host adds to them.

use super::call_values::{ModuleBody, ModuleRequest, RequestRefusal};
use crate::crypto::sha256::sha256_digest;
use crate::model::capability_grants::CapabilityGrants;
use crate::model::grant_policy::is_same_host;
use crate::model::path_template::encode_component;
use crate::model::redactor::SecretRedactor;
use crate::net::http_client::ClientRequest;
use crate::signing::usable_secret::{UsableSecret, UsableSecrets};
use crate::wasm::guest_log::clip;
use crate::wasm::json::check_json;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use url::{Url, form_urlencoded};

/// Most bytes of a request's body.
const LONGEST_BODY: usize = 1 << 20;
/// Most headers of a request, and most bytes of all of them.
const MOST_HEADERS: (usize, usize) = (64, 16 << 10);
/// Most bytes of a request's URL.
const LONGEST_URL: usize = 8 << 10;
/// Headers that a module may not set: the host sets them, or they control the connection.
const OWN_HEADERS: [&str; 11] = [
    "host",
    "content-length",
    "connection",
    "transfer-encoding",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "proxy-authorization",
    "proxy-connection",
];

/// A request that passed the checks: its host is granted, and it sets none of [`OWN_HEADERS`].
#[derive(Debug)]
pub struct CheckedRequest {
    method: Method,
    pub url: Url,
    /// The host in the form in which manifests and secrets name it.
    host: String,
    headers: HeaderMap,
}

impl CheckedRequest {
    /// Checks a request. `plain` holds the hosts for which the operator allows plain HTTP. A dry
    /// run does not know them.
    pub fn new(
        request: &ModuleRequest,
        grants: &CapabilityGrants,
        plain: Option<&[String]>,
    ) -> Result<Self, RequestRefusal> {
        let invalid = |message: String| RequestRefusal::permanent("invalid", message);
        let method = Method::from_bytes(request.method.as_bytes())
            .ok()
            .filter(|method| *method != Method::CONNECT && *method != Method::TRACE)
            .ok_or_else(|| invalid("a module may not use this method".to_owned()))?;
        let (url, host) = read_url(&request.url, grants, plain)?;
        let headers = read_headers(&request.headers)?;
        let length = match &request.body {
            Some(ModuleBody::Json(text) | ModuleBody::Text(text)) => text.len(),
            Some(ModuleBody::Bytes(bytes)) => bytes.len(),
            None => 0,
        };
        if length > LONGEST_BODY {
            let message = format!("a body of {length} bytes, the limit is {LONGEST_BODY}");
            return Err(RequestRefusal::permanent("limit", message));
        }
        if let Some(ModuleBody::Json(text)) = &request.body {
            check_json(text).map_err(|fault| invalid(format!("the body: {fault}")))?;
        }
        Ok(Self { method, url, host, headers })
    }

    /// Returns the SHA-256 of the request as the module made it, in hexadecimal. It does not cover
    /// the values of secrets, so a rotated secret does not change it.
    pub fn digest(&self, request: &ModuleRequest) -> String {
        let headers = serde_json::to_vec(&request.headers).unwrap_or_default();
        let secrets = serde_json::to_vec(&request.secrets).unwrap_or_default();
        let body = serde_json::to_vec(&request.body).unwrap_or_default();
        let parts: [&[u8]; 9] = [
            self.method.as_str().as_bytes(),
            b"\n",
            self.url.as_str().as_bytes(),
            b"\n",
            &headers,
            b"\n",
            &secrets,
            b"\n",
            &body,
        ];
        hex::encode(sha256_digest(&parts))
    }

    /// Fills in the secrets and the body. The redactor masks these secrets in the reply, because a
    /// server may echo its request, or repeat the query of its URL in a redirect.
    pub fn complete(
        mut self,
        request: &ModuleRequest,
        grants: &CapabilityGrants,
        secrets: &UsableSecrets,
    ) -> Result<(ClientRequest, SecretRedactor), RequestRefusal> {
        let mut sent = Vec::new();
        for name in &request.secrets {
            sent.extend(self.add_secret(name, grants, secrets)?);
        }
        let (body, kind) = match &request.body {
            Some(ModuleBody::Json(text)) => (Bytes::from(text.clone()), Some("application/json")),
            Some(ModuleBody::Text(text)) => {
                (Bytes::from(text.clone()), Some("text/plain; charset=utf-8"))
            }
            Some(ModuleBody::Bytes(bytes)) => (Bytes::from(bytes.clone()), None),
            None => (Bytes::new(), None),
        };
        if let Some(kind) = kind {
            let kind = HeaderValue::from_static(kind);
            self.headers.entry(header::CONTENT_TYPE).or_insert(kind);
        }
        let agent = HeaderValue::from_static(concat!("Waybill/", env!("CARGO_PKG_VERSION")));
        self.headers.entry(header::USER_AGENT).or_insert(agent);
        let uri: Uri = self.url.as_str().parse().map_err(|_opaque| {
            RequestRefusal::permanent("invalid", "a request cannot be sent to this URL")
        })?;
        let Self { method, headers, .. } = self;
        let request = ClientRequest { method, ..ClientRequest::post(uri, headers, body) };
        Ok((request, SecretRedactor::new(sent)))
    }

    /// Adds one secret to the headers or to the query. Returns every form in which the receiver may
    /// send it back.
    fn add_secret(
        &mut self,
        name: &str,
        grants: &CapabilityGrants,
        secrets: &UsableSecrets,
    ) -> Result<Vec<String>, RequestRefusal> {
        let secret = find_secret(name, grants, secrets)?;
        let settings = &secret.secret.settings;
        if !settings.may_go_to(&self.host) {
            let message = format!("secret `{name}` may not be sent to `{}`", self.host);
            return Err(RequestRefusal::permanent("denied", message));
        }
        let value = secret.secrets.as_ref().map(|secrets| secrets.current.as_str());
        let value = value.ok_or_else(|| locked(name))?;
        if let Some(parameter) = &settings.query {
            self.url.query_pairs_mut().append_pair(parameter, value);
            return Ok(list_sent_forms(value, None));
        }
        let text = [settings.prefix.as_deref().unwrap_or_default(), value].concat();
        let forms = list_sent_forms(value, Some(&text));
        let filled = settings.header.as_deref().map(|name| HeaderName::from_bytes(name.as_bytes()));
        let (Some(Ok(header)), Ok(mut text)) = (filled, HeaderValue::from_str(&text)) else {
            return Err(RequestRefusal::permanent(
                "invalid",
                format!("secret `{name}` cannot be sent in a header"),
            ));
        };
        if self.headers.contains_key(&header) {
            let message = format!("the header `{header}` is filled in by secret `{name}`");
            return Err(RequestRefusal::permanent("invalid", message));
        }
        text.set_sensitive(true);
        self.headers.insert(header, text);
        Ok(forms)
    }
}

/// Lists the forms of a secret that a reply may hold: the value, the header that it was sent in,
/// and the value as queries encode it, with a space as `+` or as `%20`.
fn list_sent_forms(value: &str, header: Option<&str>) -> Vec<String> {
    let encoded = form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let mut forms = vec![value.to_owned(), encoded, encode_component(value)];
    forms.extend(header.map(str::to_owned));
    forms
}

/// Finds a secret by its name. Fails if the module is not granted it, if it does not exist, or if
/// it cannot be read with the present key.
pub fn find_secret<'s>(
    name: &str,
    grants: &CapabilityGrants,
    secrets: &'s UsableSecrets,
) -> Result<&'s UsableSecret, RequestRefusal> {
    let shown = clip(name, 100);
    if !grants.secrets.iter().any(|granted| granted == name) {
        let message = format!("secret `{shown}` is not granted to this module");
        return Err(RequestRefusal::permanent("denied", message));
    }
    let message =
        || format!("there is no secret `{shown}`: set it with `waybill module secret set`");
    let found =
        secrets.get(name).ok_or_else(|| RequestRefusal::permanent("unknown_secret", message()))?;
    if found.is_locked() { Err(locked(name)) } else { Ok(found) }
}

fn locked(name: &str) -> RequestRefusal {
    let message = format!("secret `{name}` cannot be read with this server's key");
    RequestRefusal::passing("unavailable", message)
}

/// Reads the URL of a request. Returns it with its host in the form in which manifests name hosts.
/// `plain` is `None` in a dry run, which makes no request.
fn read_url(
    text: &str,
    grants: &CapabilityGrants,
    plain: Option<&[String]>,
) -> Result<(Url, String), RequestRefusal> {
    let invalid = |message: &str| RequestRefusal::permanent("invalid", message);
    if text.len() > LONGEST_URL {
        return Err(RequestRefusal::permanent("limit", "the URL is longer than 8 KiB"));
    }
    let mut url = Url::parse(text).map_err(|_opaque| invalid("the address is not a URL"))?;
    let is_web = matches!(url.scheme(), "https" | "http");
    let name = url.host_str().filter(|_| is_web).map(str::to_owned);
    let name = name.ok_or_else(|| invalid("the URL must begin with https:// and name a host"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("the URL must not hold credentials: name a secret instead"));
    }
    // `port` is `None` for the default port of the scheme.
    let host = url.port().map_or_else(|| name.clone(), |port| format!("{name}:{port}"));
    if !grants.http.iter().any(|granted| is_same_host(granted, &host)) {
        let message = format!("`{host}` is not among the hosts that this module is granted");
        return Err(RequestRefusal::permanent("denied", message));
    }
    let needs_tls = plain.is_some_and(|plain| !plain.contains(&host));
    if url.scheme() == "http" && needs_tls {
        let message = format!(
            "requests to `{host}` need https:// (an operator may list it in `modules.plain_http`)"
        );
        return Err(RequestRefusal::permanent("denied", message));
    }
    url.set_fragment(None);
    Ok((url, host))
}

fn read_headers(given: &[(String, String)]) -> Result<HeaderMap, RequestRefusal> {
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.len()).sum();
    if given.len() > MOST_HEADERS.0 || bytes > MOST_HEADERS.1 {
        return Err(RequestRefusal::permanent("limit", "more than 64 headers, or 16 KiB of them"));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let shown = clip(name, 100);
        let invalid =
            |what: &str| RequestRefusal::permanent("invalid", format!("header `{shown}`: {what}"));
        let name =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_opaque| invalid("not a name"))?;
        if OWN_HEADERS.contains(&name.as_str()) {
            return Err(invalid("the host sets it"));
        }
        let value = HeaderValue::from_str(value).map_err(|_opaque| invalid("not a value"))?;
        headers.append(name, value);
    }
    Ok(headers)
}
