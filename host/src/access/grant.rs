//! Short-lived tokens, as OAuth 2.0's client credentials give them (RFC 6749, section 4.4).
//!
//! A client is a token of [`super::token`]: its id is the client's id, the token itself the secret.
//! What it is given in exchange is nothing that is stored, but a sealed note: whose it is, which of
//! the client's scopes it has, when it ends. Every node with the same key can read it, and nobody
//! else can write one.
//!
//! It is never more than its client: tables, addresses and the rate are the client's, and it ends
//! with the client. The mark of authenticity covers the client's own digest, so a client whose
//! secret was replaced has no short-lived tokens left.

use super::scope::ScopeSet;
use super::token::TokenDigest;
use crate::crypto::sha256::MacKey;
use crate::model::id::{GrantId, TokenId};
use crate::time::timestamp::Timestamp;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::time::Duration;
use uuid::Uuid;

/// Begins every short-lived token.
pub const PREFIX: &str = "wbo_";
/// How long one lasts at most.
pub const LIFETIME: Duration = Duration::from_hours(1);
/// Bytes of the note: version, client, id, scopes, end.
const NOTE: usize = 1 + 16 + 16 + 4 + 8;
/// Bytes of the mark.
const MARK: usize = 32;
/// The form of the note.
const VERSION: u8 = 1;

/// What a short-lived token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenGrant {
    /// Its id; what revoking it names.
    pub id: GrantId,
    /// The client it was given to.
    pub client: TokenId,
    /// What it may do.
    pub scopes: ScopeSet,
    /// When it ends, in seconds since 1970.
    pub ends: i64,
}

/// A grant as it was shown, before it is known to be real.
#[derive(Debug, Clone, Copy)]
pub struct ShownGrant {
    grant: TokenGrant,
    note: [u8; NOTE],
    mark: [u8; MARK],
}

/// Writes and reads short-lived tokens.
#[derive(Clone)]
pub struct GrantIssuer(MacKey);

impl std::fmt::Debug for GrantIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issuer(hidden)")
    }
}

impl GrantIssuer {
    /// One that marks with this key.
    pub fn new(key: [u8; 32]) -> Self {
        Self(MacKey::new(&key))
    }

    /// The text of a grant.
    pub fn issue_grant(&self, grant: &TokenGrant, client: &TokenDigest) -> String {
        let note = note(grant);
        let mark = self.0.of(&[&note, client]);
        let text = BASE64_URL_SAFE_NO_PAD.encode([&note[..], &mark[..]].concat());
        format!("{PREFIX}{text}")
    }

    /// Whether a grant is one that was issued to the client of that digest.
    pub fn is_real(&self, shown: &ShownGrant, client: &TokenDigest) -> bool {
        self.0.fits(&[&shown.note, client], &shown.mark)
    }
}

impl ShownGrant {
    /// Reads what a caller shows; `None` where it has not the form.
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

    /// Whose it says it is.
    pub const fn client(&self) -> TokenId {
        self.grant.client
    }

    /// What it says. It counts only if [`GrantIssuer::is_real`] says so.
    pub const fn grant(&self) -> &TokenGrant {
        &self.grant
    }
}

impl TokenGrant {
    /// A grant to a client, from now on; never longer than the client itself.
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

    /// When it ends.
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
    fn what_is_issued_is_read_and_real() {
        let (issuer, grant) = (GrantIssuer::new([1; 32]), grant());
        let shown = ShownGrant::read(&issuer.issue_grant(&grant, &CLIENT)).unwrap();
        assert_eq!(*shown.grant(), grant);
        assert_eq!(grant.ends_at(), Timestamp::from_micros(3_605_000_000));
        assert!(issuer.is_real(&shown, &CLIENT));
        assert!(!issuer.is_real(&shown, &[8; 32]), "another secret");
        assert!(!GrantIssuer::new([2; 32]).is_real(&shown, &CLIENT), "another server");
    }

    #[test]
    fn it_ends_with_its_client() {
        let end = Timestamp::from_micros(60_000_000);
        let grant = TokenGrant::new(TokenId::generate(), ScopeSet::default(), Some(end), end);
        assert_eq!(grant.ends_at(), end);
    }

    proptest! {
        #[test]
        fn a_changed_one_is_not_real(at in 0..NOTE + MARK, bit in 0..8_u8) {
            let (issuer, grant) = (GrantIssuer::new([1; 32]), grant());
            let text = issuer.issue_grant(&grant, &CLIENT);
            let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX).unwrap()).unwrap();
            bytes[at] ^= 1 << bit;
            let changed = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
            let real = ShownGrant::read(&changed).is_some_and(|shown| issuer.is_real(&shown, &CLIENT));
            prop_assert!(!real);
        }

        #[test]
        fn nonsense_is_not_read(text in "wbo_[A-Za-z0-9_-]{0,120}") {
            let real = ShownGrant::read(&text).is_some_and(|s| GrantIssuer::new([1; 32]).is_real(&s, &CLIENT));
            prop_assert!(!real);
        }
    }
}
