//! Credentials of an endpoint's requests, except headers with constant values.

use crate::model::endpoint::EndpointSettings;
use crate::model::endpoint_auth::{AwsKeys, EndpointAuth, KeyPlace};
use crate::model::path_template::encode_component;
use crate::model::private_values::url_origin;
use crate::net::http_client::DeliveryClient;
use crate::net::tls_profile::TlsProfile;
use crate::settings::oauth_access::OauthAccess;
use crate::signing::aws_signature::AwsSigner;
use std::sync::{Arc, OnceLock};

/// An endpoint's API key in the query, its tokens and its TLS settings. It survives changes of
/// other settings, so that these do not cause a new token request.
#[derive(Debug)]
pub struct EndpointAccess {
    made_for: AccessSettings,
    /// `name=key`, percent-encoded, for the query of the URL.
    pub query: Option<String>,
    pub tokens: Option<OauthAccess>,
    /// Signs each request for a service of Amazon.
    pub aws_signer: Option<AwsSigner>,
    clients: OnceLock<Result<AccessClients, String>>,
}

/// The settings for which access was prepared.
#[derive(Debug, PartialEq, Eq)]
struct AccessSettings {
    /// Scheme, host and port of the URL.
    origin: String,
    /// Without the refresh token, which changes by itself.
    auth: Option<EndpointAuth>,
    profile: Option<TlsProfile>,
}

/// The clients of an endpoint with its own TLS settings.
#[derive(Debug)]
struct AccessClients {
    deliveries: DeliveryClient,
    /// Separate, because the token server has another host name.
    tokens: DeliveryClient,
}

impl EndpointAccess {
    /// Prepares the credentials of an endpoint, or reuses the previous ones if they were made for
    /// the same settings. Returns `None` if it needs none.
    pub fn prepare(settings: &EndpointSettings, previous: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let (query, tokens) = match &settings.auth {
            Some(EndpointAuth::ApiKey { place: KeyPlace::Query, name, value }) => {
                let pair = format!("{}={}", encode_component(name), encode_component(value));
                (Some(pair), None)
            }
            Some(EndpointAuth::Oauth2(oauth)) => (None, Some(OauthAccess::new(oauth))),
            Some(_) | None => (None, None),
        };
        let made_for = AccessSettings::of(settings);
        let aws_signer = match &settings.auth {
            Some(EndpointAuth::AwsSigv4(keys)) => Some(make_signer(keys)),
            Some(_) | None => None,
        };
        let is_needed = query.is_some() || tokens.is_some() || aws_signer.is_some();
        if !is_needed && made_for.profile.is_none() {
            return None;
        }
        if let Some(previous) = previous.filter(|previous| previous.made_for == made_for) {
            if let (Some(kept), Some(tokens)) = (&previous.tokens, &tokens) {
                kept.slot.set_refresh_token(tokens.settings.refresh_token.clone());
            }
            return Some(Arc::clone(previous));
        }
        Some(Arc::new(Self { made_for, query, tokens, aws_signer, clients: OnceLock::new() }))
    }

    /// Returns the client for its deliveries, or why there is none.
    pub fn delivery_client<'c>(
        &'c self,
        shared: &'c DeliveryClient,
    ) -> Result<&'c DeliveryClient, &'c str> {
        Ok(self.own_clients(shared)?.map_or(shared, |own| &own.deliveries))
    }

    /// Returns the client for its token server, or why there is none.
    pub fn token_client<'c>(
        &'c self,
        shared: &'c DeliveryClient,
    ) -> Result<&'c DeliveryClient, &'c str> {
        Ok(self.own_clients(shared)?.map_or(shared, |own| &own.tokens))
    }

    fn own_clients(&self, shared: &DeliveryClient) -> Result<Option<&AccessClients>, &str> {
        let Some(profile) = &self.made_for.profile else { return Ok(None) };
        let made = self.clients.get_or_init(|| {
            let unnamed = TlsProfile { server_name: None, ..profile.clone() };
            let client = |profile| shared.with_profile(profile).map_err(|why| why.to_string());
            Ok(AccessClients { deliveries: client(profile)?, tokens: client(&unnamed)? })
        });
        made.as_ref().map(Some).map_err(String::as_str)
    }
}

fn make_signer(keys: &AwsKeys) -> AwsSigner {
    let AwsKeys { access_key, secret_key, token, region, service } = keys.clone();
    AwsSigner { access_key, secret_key, token, region, service }
}

impl AccessSettings {
    fn of(settings: &EndpointSettings) -> Self {
        let mut auth = settings.auth.clone();
        if let Some(EndpointAuth::Oauth2(oauth)) = &mut auth {
            oauth.refresh_token = None;
        }
        Self { origin: url_origin(&settings.url), auth, profile: settings.tls_profile() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn settings(more: &Value) -> EndpointSettings {
        let mut settings = json!({"name": "a", "url": "https://h.example/in", "auth": {
            "kind": "oauth2", "token_url": "https://t.example", "grant": "refresh_token",
            "client_id": "c", "client_secret": "s", "refresh_token": "one"}});
        for (key, value) in more.as_object().unwrap() {
            settings[key] = value.clone();
        }
        serde_json::from_value(settings).unwrap()
    }

    #[test]
    fn access_outlives_changes_of_other_settings() {
        let first = EndpointAccess::prepare(&settings(&json!({})), None).unwrap();
        let other = settings(&json!({"events": ["x.*"], "url": "https://h.example/other"}));
        let kept = EndpointAccess::prepare(&other, Some(&first)).unwrap();
        assert!(Arc::ptr_eq(&first, &kept));
        let moved = settings(&json!({"url": "https://other.example/in"}));
        let made = EndpointAccess::prepare(&moved, Some(&first)).unwrap();
        assert!(!Arc::ptr_eq(&first, &made));
    }

    #[test]
    fn a_new_refresh_token_is_taken_up_with_the_token_that_is_good() {
        let first = EndpointAccess::prepare(&settings(&json!({})), None).unwrap();
        let mut rotated = settings(&json!({}));
        if let Some(EndpointAuth::Oauth2(oauth)) = &mut rotated.auth {
            oauth.refresh_token = Some("two".to_owned());
        }
        let kept = EndpointAccess::prepare(&rotated, Some(&first)).unwrap();
        assert!(Arc::ptr_eq(&first, &kept));
        let slot = &kept.tokens.as_ref().unwrap().slot;
        assert_eq!(slot.refresh_token().as_deref(), Some("two"));
    }

    #[test]
    fn an_endpoint_without_such_settings_needs_nothing() {
        for auth in [Value::Null, json!({"kind": "bearer", "token": "t"})] {
            assert!(EndpointAccess::prepare(&settings(&json!({"auth": auth})), None).is_none());
        }
        let key = json!({"kind": "api_key", "in": "query", "name": "a b", "value": "x&y"});
        let access = EndpointAccess::prepare(&settings(&json!({"auth": key})), None).unwrap();
        assert_eq!(access.query.as_deref(), Some("a%20b=x%26y"));
    }
}
