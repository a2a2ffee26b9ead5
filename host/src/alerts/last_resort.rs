//! A webhook that needs no flow. The node that evaluates the alerts sends notices there directly,
//! so they arrive even if a flow is broken, a queue is full or an endpoint is paused.
//!
//! A notice stays in its alert's row until the webhook has accepted it or a newer notice of the
//! alert takes its place, so a restart loses none.
//! After a crash between the request and the record of its success, the notice is sent again under
//! the same `webhook-id`.

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

/// Most time for one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most notices that one evaluation sends.
const MOST_AT_ONCE: usize = 20;

/// The destination of notices without a flow. A channel for e-mail can be added beside the webhook.
#[derive(Debug)]
pub struct LastResort {
    uri: Uri,
    signer: Option<DeliverySigner>,
}

impl LastResort {
    /// Returns the webhook from the settings, or `None` if none is set or its settings are invalid.
    pub fn new(settings: &AlertsSection) -> Option<Self> {
        let webhook = settings.webhook.as_ref()?;
        let uri = match read_http_url(webhook.expose()) {
            Ok(uri) => uri,
            Err(why) => {
                tracing::error!(
                    why,
                    "alerts.webhook cannot be used; notices go only to endpoints and flows"
                );
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

    /// Sends the notices that have not been sent yet. Failed ones are retried at the next
    /// evaluation.
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
                // The other notices would fail the same way.
                Err(why) => {
                    tracing::warn!(
                        why,
                        "alerts.webhook did not accept a notice; it is sent again shortly"
                    );
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
            None => Err("the notice was not sent".to_owned()),
        }
    }
}
