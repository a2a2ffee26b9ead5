//! Who is calling: a token, as `Authorization: Bearer …` or `X-API-KEY: …`.
//!
//! Tokens are random and long, so a plain SHA-256 of them is what is stored and looked up; what is
//! compared is the digest, whose bytes tell an attacker nothing about the token.

use super::App;
use super::problem::Problem;
use crate::domain::id::TokenId;
use crate::journal::objects::{Change, Kind, Object};
use crate::journal::{self, Journal};
use axum::extract::FromRequestParts;
use http::header;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::Arc;

/// Name of the token that the first start makes.
pub const ADMIN: &str = "admin";
/// Begins every token that Waybill makes.
const PREFIX: &str = "wb_";

/// A token as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenSettings {
    /// Its name.
    pub name: String,
    /// SHA-256 of the token, in hex.
    pub sha256: String,
    /// What it may do.
    pub scopes: Vec<String>,
}

/// Who is calling. A handler that does not ask for one gets no data.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The token's name.
    pub name: Arc<str>,
    /// What it may do.
    pub scopes: Arc<[String]>,
}

/// The known tokens.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    by_digest: Arc<HashMap<[u8; 32], Principal>>,
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl Tokens {
    /// Reads the tokens; makes the first one where there is none. `given` is the admin token that
    /// the environment sets. The token that was made is returned, to be shown once.
    pub async fn open(
        journal: &Journal,
        given: Option<&str>,
    ) -> Result<(Self, Option<String>), journal::Error> {
        let mut stored: Vec<Object<TokenSettings>> = journal.objects(Kind::Token).await?;
        let made = match given {
            None if stored.is_empty() => {
                Some(format!("{PREFIX}{}", hex::encode(rand::random::<[u8; 24]>())))
            }
            _ => None,
        };
        if let Some(token) = made.as_deref().or(given) {
            let known = stored.iter().position(|object| object.settings.name == ADMIN);
            let object = admin(token, known.and_then(|n| stored.get(n)), journal);
            if known
                .and_then(|n| stored.get(n))
                .is_none_or(|o| o.settings.sha256 != object.settings.sha256)
            {
                let change = Change::put(Kind::Token, ADMIN, &object).map_err(|error| {
                    journal::Error::Corrupt {
                        table: "object",
                        column: "body",
                        why: error.to_string(),
                    }
                })?;
                journal.change(&[change]).await?;
                stored.retain(|object| object.settings.name != ADMIN);
                stored.push(object);
            }
        }
        let by_digest = stored.into_iter().filter_map(|object| {
            let digest = hex::decode(&object.settings.sha256).ok()?.try_into().ok()?;
            let (name, scopes) = (object.settings.name.into(), object.settings.scopes.into());
            Some((digest, Principal { name, scopes }))
        });
        Ok((Self { by_digest: Arc::new(by_digest.collect()) }, made))
    }

    fn find(&self, token: &str) -> Option<&Principal> {
        self.by_digest.get(&digest(token))
    }
}

fn admin(
    token: &str,
    known: Option<&Object<TokenSettings>>,
    journal: &Journal,
) -> Object<TokenSettings> {
    let now = journal.clock().now();
    Object {
        id: known.map_or_else(|| TokenId::generate().uuid(), |object| object.id),
        settings: TokenSettings {
            name: ADMIN.to_owned(),
            sha256: hex::encode(digest(token)),
            scopes: vec!["admin".to_owned()],
        },
        sealed: None,
        created_at: known.map_or(now, |object| object.created_at),
        updated_at: now,
    }
}

impl FromRequestParts<App> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text(header::AUTHORIZATION.as_str()).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let Some(token) = bearer.or(text("x-api-key")) else {
            let detail = "send a token as `Authorization: Bearer TOKEN` or `X-API-KEY: TOKEN`";
            return Err(Problem::unauthorized(detail));
        };
        let unknown = || Problem::unauthorized("this token is not known here");
        app.tokens.find(token).cloned().ok_or_else(unknown)
    }
}
