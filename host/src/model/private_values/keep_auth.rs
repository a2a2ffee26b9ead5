//! Replaces masks in an endpoint's `auth` and `tls` by stored secrets, as long as the secrets, and
//! the tokens that they are exchanged for, still go to the receivers that they were set for.

use super::keep::{again, is_masked_url, unmask_url};
use super::{MASK, url_origin};
use crate::model::endpoint::EndpointSettings;
use crate::model::endpoint_auth::EndpointAuth;
use crate::model::fault::InputFault;

/// Replaces masks by stored secrets. Uses the first of `stored` that has a secret, is of the same
/// kind and goes to the same receiver and the same token server. The faults name the masks that are
/// left.
pub fn keep_auth(new: &mut EndpointSettings, stored: &[&EndpointSettings]) -> Vec<InputFault> {
    let goes_to = url_origin(&new.url);
    let same: Vec<&EndpointSettings> =
        stored.iter().copied().filter(|known| url_origin(&known.url) == goes_to).collect();
    let mut faults = Vec::new();
    let fault = |place: String| InputFault::new(place, again("value", stored.first(), &goes_to));
    if let Some(auth) = &mut new.auth {
        faults.extend(keep_token_url(auth, &same));
        let known: Vec<EndpointAuth> = same
            .iter()
            .filter_map(|known| known.auth.clone())
            .filter(|k| is_alike(auth, k))
            .collect();
        faults.extend(keep_secrets(auth, known).into_iter().map(|p| fault(format!("auth.{p}"))));
    }
    if let Some(key) = new.tls.as_mut().and_then(|tls| tls.key.as_mut()).filter(|k| *k == MASK) {
        let known = same.iter().filter_map(|known| known.tls.as_ref()?.key.as_ref());
        match known.into_iter().find(|known| *known != MASK) {
            Some(known) => key.clone_from(known),
            None => faults.push(fault("tls.key".to_owned())),
        }
    }
    faults
}

/// Whether the secrets of both are sent to the same places.
fn is_alike(one: &EndpointAuth, other: &EndpointAuth) -> bool {
    match (one, other) {
        (EndpointAuth::Oauth2(one), EndpointAuth::Oauth2(other)) => {
            url_origin(&one.token_url) == url_origin(&other.token_url)
        }
        (one, other) => one.kind() == other.kind(),
    }
}

fn keep_token_url(auth: &mut EndpointAuth, same: &[&EndpointSettings]) -> Option<InputFault> {
    let EndpointAuth::Oauth2(oauth) = auth else { return None };
    if !is_masked_url(&oauth.token_url) {
        return None;
    }
    let known = same.iter().find_map(|known| match &known.auth {
        Some(EndpointAuth::Oauth2(known)) => unmask_url(&oauth.token_url, &known.token_url),
        Some(_) | None => None,
    });
    if let Some(url) = known.filter(|url| !is_masked_url(url)) {
        oauth.token_url = url;
        return None;
    }
    let why = format!(
        "enter the whole address: `{MASK}` stands for a part of a stored one, and no stored one can be used"
    );
    Some(InputFault::new("auth.token_url", why))
}

/// Replaces masks by known secrets and returns the places of the masks that are left.
fn keep_secrets(auth: &mut EndpointAuth, mut known: Vec<EndpointAuth>) -> Vec<String> {
    let mut left = Vec::new();
    let known_extra: Vec<_> = known.iter().filter_map(EndpointAuth::extra).cloned().collect();
    let mut known: Vec<(String, &mut String)> =
        known.iter_mut().flat_map(EndpointAuth::secrets_mut).collect();
    known.retain(|(_, value)| *value != MASK);
    for (place, secret) in auth.secrets_mut().into_iter().filter(|(_, secret)| *secret == MASK) {
        match known.iter().find(|(known, _)| *known == place) {
            Some((_, value)) => secret.clone_from(value),
            None => left.push(place),
        }
    }
    if let EndpointAuth::Oauth2(oauth) = auth {
        for (name, value) in oauth.extra.iter_mut().filter(|(_, value)| *value == MASK) {
            let mut found = known_extra.iter().filter_map(|extra| extra.get(name));
            match found.find(|known| *known != MASK) {
                Some(known) => value.clone_from(known),
                None => left.push(format!("extra.{name}")),
            }
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn endpoint(url: &str, auth: &Value) -> EndpointSettings {
        serde_json::from_value(json!({"name": "a", "url": url, "auth": auth})).unwrap()
    }

    fn oauth(token_url: &str, secret: &str) -> Value {
        json!({"kind": "oauth2", "token_url": token_url, "client_id": "c", "client_secret": secret,
               "extra": {"resource": secret}})
    }

    fn faulty(new: &mut EndpointSettings, stored: &EndpointSettings) -> Vec<String> {
        keep_auth(new, &[stored]).into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn secrets_are_kept_for_the_same_receiver_and_token_server_only() {
        let (url, token_url) = ("https://h.example/in", "https://t.example/token?k=s3cret");
        let stored = endpoint(url, &oauth(token_url, "s3cret"));
        let mut same =
            endpoint("https://h.example/moved", &oauth("https://t.example/token?k=***", MASK));
        assert_eq!(faulty(&mut same, &stored), [""; 0]);
        assert_eq!(same.auth, stored.auth);
        let secrets = ["auth.client_secret", "auth.extra.resource"];
        let mut moved = endpoint("https://evil.example/in", &oauth(token_url, MASK));
        assert_eq!(faulty(&mut moved, &stored), secrets);
        let mut elsewhere = endpoint(url, &oauth("https://evil.example/token", MASK));
        assert_eq!(faulty(&mut elsewhere, &stored), secrets);
        let mut masked = endpoint(url, &oauth("https://evil.example/token?k=***", "new"));
        assert_eq!(faulty(&mut masked, &stored), ["auth.token_url"]);
        let bearer = json!({"kind": "bearer", "token": MASK});
        assert_eq!(faulty(&mut endpoint(url, &bearer), &stored), ["auth.token"]);
    }

    #[test]
    fn a_key_is_kept_for_the_same_receiver_only() {
        let with_key = |url: &str, key: &str| -> EndpointSettings {
            let tls = json!({"certificate": "c", "key": key});
            serde_json::from_value(json!({"name": "a", "url": url, "tls": tls})).unwrap()
        };
        let stored = with_key("https://h.example/in", "s3cret");
        let mut same = with_key("https://h.example/x", MASK);
        assert_eq!(faulty(&mut same, &stored), [""; 0]);
        assert_eq!(same.tls, stored.tls);
        assert_eq!(faulty(&mut with_key("https://evil.example/x", MASK), &stored), ["tls.key"]);
    }
}
