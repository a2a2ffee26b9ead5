//! The two secrets that come from the environment. An empty or short one does not protect anything,
//! so the server refuses to start with it.

use secrecy::SecretString;
use std::collections::BTreeSet;

/// Shortest admin token or secret key, in characters. Servers with a short one still start after an
/// upgrade. The key is not stretched, so its length is its protection; `openssl rand -hex 32` makes
/// 64 characters.
pub const SHORTEST_SECRET: usize = 8;
/// Smallest number of different characters, so that `aaaaaaaaaaaaaaaa` is refused too.
const FEWEST_DIFFERENT: usize = 5;

/// Reads `WAYBILL_ADMIN_TOKEN`. The error does not repeat the value.
pub fn read_admin_token(value: String) -> Result<SecretString, String> {
    check_strength(&value)?;
    // Callers send the token in a header, where other characters may be altered.
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(
            "the token has spaces or characters beyond ASCII, which a header cannot carry; use letters, digits and `-_.`"
                .to_owned(),
        );
    }
    Ok(SecretString::from(value))
}

/// Reads `WAYBILL_SECRET_KEY`. The error does not repeat the value.
pub fn read_secret_key(value: String) -> Result<SecretString, String> {
    check_strength(&value)?;
    Ok(SecretString::from(value))
}

fn check_strength(value: &str) -> Result<(), String> {
    let text = value.trim();
    if text.is_empty() {
        return Err("it is empty; set a secret, for example from `openssl rand -hex 32`, or unset the variable".to_owned());
    }
    let different = text.chars().collect::<BTreeSet<char>>().len();
    if text.chars().count() < SHORTEST_SECRET || different < FEWEST_DIFFERENT {
        return Err(format!(
            "it can be guessed; use at least {SHORTEST_SECRET} characters, for example from `openssl rand -hex 32`"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_protect_nothing_are_refused() {
        for weak in ["", " ", "x", "seven-c", "aaaaaaaaaaaaaaaaaaaa", "  x              "] {
            assert!(read_admin_token(weak.to_owned()).is_err(), "{weak:?}");
            assert!(read_secret_key(weak.to_owned()).is_err(), "{weak:?}");
        }
        assert!(read_admin_token("with a space 0123456789".to_owned()).is_err());
        assert!(read_admin_token("test-admin-token-0123456789abcdef".to_owned()).is_ok());
        assert!(read_secret_key("correct horse battery staple".to_owned()).is_ok());
    }
}
