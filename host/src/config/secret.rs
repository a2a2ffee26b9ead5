//! The two secrets that come from the environment. An empty or short one protects nothing, so the
//! server refuses to start with it.

use secrecy::SecretString;
use std::collections::BTreeSet;

/// Fewest characters of an admin token or a secret key: servers that run with a short one of their
/// own go on after an upgrade. The key is not stretched, so its length is what protects it;
/// `openssl rand -hex 32` makes 64.
pub const SHORTEST_SECRET: usize = 8;
/// Fewest different characters, so that `aaaaaaaaaaaaaaaa` is refused too.
const FEWEST_DIFFERENT: usize = 5;

/// Reads `WAYBILL_ADMIN_TOKEN`. The error says what is wrong, without the value.
pub fn read_admin_token(value: String) -> Result<SecretString, String> {
    check_strength(&value)?;
    // Callers send it in a header, where nothing else arrives as it was written.
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(
            "the token has spaces or characters beyond ASCII, which a header cannot carry; use letters, digits and `-_.`"
                .to_owned(),
        );
    }
    Ok(SecretString::from(value))
}

/// Reads `WAYBILL_SECRET_KEY`. The error says what is wrong, without the value.
pub fn read_secret_key(value: String) -> Result<SecretString, String> {
    check_strength(&value)?;
    Ok(SecretString::from(value))
}

fn check_strength(value: &str) -> Result<(), String> {
    let text = value.trim();
    if text.is_empty() {
        return Err("it is empty; set a secret of its own, for example from `openssl rand -hex 32`, or unset the variable".to_owned());
    }
    let different = text.chars().collect::<BTreeSet<char>>().len();
    if text.chars().count() < SHORTEST_SECRET || different < FEWEST_DIFFERENT {
        return Err(format!(
            "it can be guessed; take at least {SHORTEST_SECRET} characters, for example from `openssl rand -hex 32`"
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
