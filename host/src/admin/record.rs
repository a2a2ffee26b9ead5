//! Records requests of the pages in the audit, like calls of the API.

use crate::api::auth::CallOrigin;
use crate::api::{AppState, record_call};
use crate::model::api_call::ApiCall;
use crate::model::id::RequestId;
use axum::extract::{MatchedPath, Request};
use http::{Method, StatusCode};
use std::time::Instant;

/// A request that will be recorded.
#[derive(Debug)]
pub struct PageRecord {
    id: RequestId,
    began: Instant,
    method: Method,
    route: String,
}

impl PageRecord {
    /// Begins a record when a request arrives. It contains the route in place of the address.
    pub fn begin(request: &Request) -> Self {
        let extensions = request.extensions();
        let route = extensions.get::<MatchedPath>();
        Self {
            id: extensions.get().copied().unwrap_or_else(RequestId::generate),
            began: Instant::now(),
            method: request.method().clone(),
            route: route.map_or_else(String::new, |route| route.as_str().to_owned()),
        }
    }

    /// Records the answer. A caller without a known token gets no row of its own.
    pub async fn finish(self, app: &AppState, caller: CallOrigin, status: StatusCode) {
        let is_free = caller.is_free || caller.token.is_none();
        let call = ApiCall {
            id: self.id,
            token: caller.token,
            address: caller.address,
            method: self.method.as_str().to_owned(),
            route: self.route,
            status: status.as_u16(),
            duration: self.began.elapsed(),
            calls: 1,
        };
        record_call(app, call, is_free, &self.method, status).await;
    }
}
