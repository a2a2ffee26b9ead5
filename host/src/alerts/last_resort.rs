//! The webhook that needs no flow: notices go there too, straight from the node that looks after
//! the alerts, so that a broken flow, a full queue or a paused endpoint hides nothing.
//!
//! A notice stays in its alert's row until the webhook has taken it, so a restart loses none. A
//! crash between the request and the note of it sends the notice again, under the same
//! `webhook-id`.

use crate::config::AlertsSection;
use crate::model::alert::StoredAlert;
use crate::model::secrets::SigningSecrets;
use crate::model::signature_scheme::SignatureScheme;
use crate::net::http_client::{ClientRequest, DeliveryClient};
use crate::net::http_url::read_http_url;
use crate::signing::DeliverySigner;
use crate::store::{EventStore, StoreError};
use crate::time::timestamp::Timestamp;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri, header};
use serde_json::Value;
use std::future::pending;
use std::time::Duration;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Notices that are sent at one look.
const MOST_AT_ONCE: usize = 20;

/// Where notices go without a flow. A channel for e-mail has its place beside it.
#[derive(Debug)]
pub struct LastResort {
    uri: Uri,
    signer: Option<DeliverySigner>,
}

impl LastResort {
    /// The webhook that is set, if one is and can be used.
    pub fn new(settings: &AlertsSection) -> Option<Self> {
        let webhook = settings.webhook.as_ref()?;
        let uri = match read_http_url(webhook.expose()) {
            Ok(uri) => uri,
            Err(why) => {
                tracing::error!(why, "alerts.webhook cannot be used");
                return None;
            }
        };
        let signer = settings.webhook_secret.as_ref().and_then(|secret| {
            let current = secret.expose().to_owned();
            let secrets = SigningSecrets { current, previous: None };
            DeliverySigner::new(&[SignatureScheme::Standard], &secrets)
                .inspect_err(|error| tracing::error!(%error, "alerts.webhook_secret cannot sign"))
                .ok()
        });
        Some(Self { uri, signer })
    }

    /// Sends what has not been sent yet. What fails is tried again at the next look.
    pub async fn send_unsent(
        &self,
        client: &DeliveryClient,
        journal: &EventStore,
        alerts: Vec<StoredAlert>,
    ) -> Result<(), StoreError> {
        let unsent = alerts.into_iter().filter_map(|alert| Some((alert.id, alert.unsent?)));
        for (id, notice) in unsent.take(MOST_AT_ONCE) {
            match self.send_notice(client, &notice, journal.clock().wall()).await {
                Ok(()) => journal.note_alert_sent(id, &notice).await?,
                // The others would fail the same way.
                Err(why) => {
                    tracing::warn!(why, "alerts.webhook took no notice; it is tried again shortly");
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn send_notice(
        &self,
        client: &DeliveryClient,
        notice: &str,
        signed_at: Timestamp,
    ) -> Result<(), String> {
        let read: Value = serde_json::from_str(notice).map_err(|error| error.to_string())?;
        let id = read.get("id").and_then(Value::as_str).unwrap_or_default();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let id_value = HeaderValue::try_from(id).map_err(|error| error.to_string())?;
        headers.insert("webhook-id", id_value);
        if let Some(signer) = &self.signer {
            let signed = signer.sign(id, signed_at, notice.as_bytes(), &mut headers);
            signed.map_err(|error| error.to_string())?;
        }
        let body = Bytes::from(notice.to_owned());
        let request = ClientRequest::post(self.uri.clone(), headers, body);
        match client.send(request, TIMEOUT, pending()).await {
            Some(Ok(reply)) if reply.status.is_success() => Ok(()),
            Some(Ok(reply)) => Err(format!("it answered {}", reply.status)),
            Some(Err(error)) => Err(error.detail),
            None => Err("it was not sent".to_owned()),
        }
    }
}
