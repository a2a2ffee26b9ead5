//! Short-lived tokens from the client credentials grant of OAuth 2.0 (RFC 6749, section 4.4).
//!
//! A client is a token of [`super::token`]: the token's id is the client id, and the token itself
//! is the client secret. A short-lived token is not stored. It is an authenticated note that names
//! its client, its scopes and its end. Every node with the same key can verify such a note, and
//! nobody without the key can write one.
//!
//! A short-lived token never allows more than its client: the client's tables, addresses and rate
//! apply, and it ends no later than the client. The authentication code covers the digest of the
//! client's secret, so replacing the secret revokes all short-lived tokens of the client.

use super::scope::ScopeSet;
use super::token::TokenDigest;
use crate::crypto::sha256::MacKey;
use crate::model::id::{GrantId, TokenId};
use crate::time::timestamp::Timestamp;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::time::Duration;
use uuid::Uuid;

/// The prefix of every short-lived token.
pub const PREFIX: &str = "wbo_";
/// The longest lifetime of a short-lived token.
pub const LIFETIME: Duration = Duration::from_hours(1);
/// Length of the note in bytes: version, client, id, scopes, end.
const NOTE: usize = 1 + 16 + 16 + 4 + 8;
/// Length of the authentication code in bytes.
const MARK: usize = 32;
/// The version of the note's layout.
const VERSION: u8 = 1;

/// The content of a short-lived token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenGrant {
    /// The id of the short-lived token. Revocation names this id.
    pub id: GrantId,
    /// The client to which the token was issued.
    pub client: TokenId,
    /// The scopes that the token has.
    pub scopes: ScopeSet,
    /// The end of the token, in seconds since 1970.
    pub ends: i64,
}

/// A grant as a caller presented it. It is not verified yet.
#[derive(Debug, Clone, Copy)]
pub struct ShownGrant {
    grant: TokenGrant,
    note: [u8; NOTE],
    mark: [u8; MARK],
}

/// Issues and verifies short-lived tokens.
#[derive(Clone)]
pub struct GrantIssuer(MacKey);

impl std::fmt::Debug for GrantIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issuer(hidden)")
    }
}

impl GrantIssuer {
    /// Makes an issuer that authenticates notes with `key`.
    pub fn new(key: [u8; 32]) -> Self {
        Self(MacKey::new(&key))
    }

    /// Returns the text of a short-lived token for the client with this digest.
    pub fn issue_grant(&self, grant: &TokenGrant, client: &TokenDigest) -> String {
        let note = note(grant);
        let mark = self.0.of(&[&note, client]);
        let text = BASE64_URL_SAFE_NO_PAD.encode([&note[..], &mark[..]].concat());
        format!("{PREFIX}{text}")
    }

    /// Whether this issuer, or another node with the same key, issued the grant to the client with
    /// this digest.
    pub fn is_real(&self, shown: &ShownGrant, client: &TokenDigest) -> bool {
        self.0.fits(&[&shown.note, client], &shown.mark)
    }
}

impl ShownGrant {
    /// Reads the text that a caller presented. Returns `None` if the text is not a short-lived
    /// token.
    pub fn read(text: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (note, mark) = bytes.split_first_chunk::<NOTE>()?;
        let mark = mark.try_into().ok()?;
        let (version, rest) = note.split_first()?;
        let (client, rest) = rest.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (scopes, ends) = rest.split_first_chunk()?;
        let grant = TokenGrant {
            id: GrantId::from_uuid(Uuid::from_bytes(*id)),
            client: TokenId::from_uuid(Uuid::from_bytes(*client)),
            scopes: ScopeSet::from_bits(u32::from_be_bytes(*scopes)),
            ends: i64::from_be_bytes(ends.try_into().ok()?),
        };
        (*version == VERSION).then_some(Self { grant, note: *note, mark })
    }

    /// Returns the client that the note names. Not verified.
    pub const fn client(&self) -> TokenId {
        self.grant.client
    }

    /// Returns the content of the note. Trust it only after [`GrantIssuer::is_real`] returned true.
    pub const fn grant(&self) -> &TokenGrant {
        &self.grant
    }
}

impl TokenGrant {
    /// Makes a grant that begins now and ends no later than its client.
    pub fn new(
        client: TokenId,
        scopes: ScopeSet,
        client_ends: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let ends = now.after(LIFETIME);
        let ends = client_ends.map_or(ends, |end| end.min(ends)).seconds();
        Self { id: GrantId::generate(), client, scopes, ends }
    }

    /// Returns the time at which the token ends.
    pub const fn ends_at(&self) -> Timestamp {
        Timestamp::from_micros(self.ends.saturating_mul(1_000_000))
    }
}

fn note(grant: &TokenGrant) -> [u8; NOTE] {
    let mut note = [0; NOTE];
    let (client, id) = (grant.client.uuid(), grant.id.uuid());
    let parts: [&[u8]; 5] = [
        &[VERSION],
        client.as_bytes(),
        id.as_bytes(),
        &grant.scopes.bits().to_be_bytes(),
        &grant.ends.to_be_bytes(),
    ];
    for (place, byte) in note.iter_mut().zip(parts.into_iter().flatten()) {
        *place = *byte;
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLIENT: TokenDigest = [7; 32];

    fn grant() -> TokenGrant {
        let scopes = ScopeSet::named(["events:write", "flows:read"]);
        TokenGrant::new(TokenId::generate(), scopes, None, Timestamp::from_micros(5_000_000))
    }

    #[test]
    fn an_issued_grant_is_read_and_verified() {
        let (issuer, grant) = (GrantIssuer::new([1; 32]), grant());
        let shown = ShownGrant::read(&issuer.issue_grant(&grant, &CLIENT)).unwrap();
        assert_eq!(*shown.grant(), grant);
        assert_eq!(grant.ends_at(), Timestamp::from_micros(3_605_000_000));
        assert!(issuer.is_real(&shown, &CLIENT));
        assert!(!issuer.is_real(&shown, &[8; 32]), "another secret");
        assert!(!GrantIssuer::new([2; 32]).is_real(&shown, &CLIENT), "another server");
    }

    #[test]
    fn a_grant_ends_with_its_client() {
        let end = Timestamp::from_micros(60_000_000);
        let grant = TokenGrant::new(TokenId::generate(), ScopeSet::default(), Some(end), end);
        assert_eq!(grant.ends_at(), end);
    }

    proptest! {
        #[test]
        fn a_changed_grant_is_not_verified(at in 0..NOTE + MARK, bit in 0..8_u8) {
            let (issuer, grant) = (GrantIssuer::new([1; 32]), grant());
            let text = issuer.issue_grant(&grant, &CLIENT);
            let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX).unwrap()).unwrap();
            bytes[at] ^= 1 << bit;
            let changed = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
            let real = ShownGrant::read(&changed).is_some_and(|shown| issuer.is_real(&shown, &CLIENT));
            prop_assert!(!real);
        }

        #[test]
        fn a_malformed_grant_is_not_read(text in "wbo_[A-Za-z0-9_-]{0,120}") {
            let real = ShownGrant::read(&text).is_some_and(|s| GrantIssuer::new([1; 32]).is_real(&s, &CLIENT));
            prop_assert!(!real);
        }
    }
}
