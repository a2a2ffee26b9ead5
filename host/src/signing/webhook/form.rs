//! Forms, as some senders write and sign their bodies.

/// Most fields of a form. PHP reads as many (`max_input_vars`), and a kilobyte that is compressed
/// could hold half a million.
const MAX_FIELDS: usize = 1_000;

/// Why a form cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    #[error("a form of more than {MAX_FIELDS} fields is not read")]
    TooManyFields,
    #[error("the body is not a form: {0}")]
    Malformed(#[from] serde_urlencoded::de::Error),
}

/// Reads the fields of a form, in their order.
pub fn form_fields(body: &[u8]) -> Result<Vec<(String, String)>, FormError> {
    if body.split(|byte| *byte == b'&').count() > MAX_FIELDS {
        return Err(FormError::TooManyFields);
    }
    Ok(serde_urlencoded::from_bytes(body)?)
}
