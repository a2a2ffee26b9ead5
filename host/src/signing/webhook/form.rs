//! Reads forms, which some senders write and sign as their bodies.

/// Most fields of a form. PHP reads the same number (`max_input_vars`). Without a bound, a kilobyte
/// of compressed body could hold half a million fields.
const MAX_FIELDS: usize = 1_000;

/// The reason why a form cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    #[error("the form has more than {MAX_FIELDS} fields; send fewer")]
    TooManyFields,
    #[error("the body is not a form: {0}")]
    Malformed(#[from] serde_urlencoded::de::Error),
}

/// Reads the fields of a form in their original order.
pub fn form_fields(body: &[u8]) -> Result<Vec<(String, String)>, FormError> {
    if body.split(|byte| *byte == b'&').count() > MAX_FIELDS {
        return Err(FormError::TooManyFields);
    }
    Ok(serde_urlencoded::from_bytes(body)?)
}
