//! Stores refresh tokens that a token server issued in place of the stored one.

use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::settings::live::LiveSettings;

/// Stores the refresh token that an attempt received, if it received one. If the process ends
/// before the token is stored, the token is lost, and the token server may refuse the stored one.
pub async fn keep_refresh_token(live: &LiveSettings, target: &EndpointRuntime) {
    let tokens = target.access.as_ref().and_then(|access| access.tokens.as_ref());
    let Some(rotated) = tokens.and_then(|tokens| tokens.slot.take_rotated_token()) else { return };
    let name = &target.endpoint.settings.name;
    if let Err(error) = live.store_refresh_token(target.endpoint.id, rotated).await {
        tracing::error!(endpoint = name, %error,
            "a new refresh token was not stored; it is lost when this server stops");
    }
}
