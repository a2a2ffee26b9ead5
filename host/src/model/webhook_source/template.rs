//! What a signature is made over: a text with parts of the request in braces, such as
//! `{timestamp}.{body}`.

/// A piece of such a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePiece {
    /// A text as it stands.
    Text(Box<str>),
    Body,
    /// The time, as the request writes it.
    Timestamp,
    Id,
    /// The address that the sender calls, with its query.
    Url,
    Method,
    /// The fields of a form, sorted, each name followed by its value. Of another body nothing: its
    /// SHA-256 stands in the query as `bodySHA256` (Twilio, "Validate requests").
    Form,
}

/// Reads such a text; an error says what is wrong.
pub fn parse_template(text: &str) -> Result<Vec<TemplatePiece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or("a `{` has no `}`")?;
        if !before.is_empty() {
            pieces.push(TemplatePiece::Text(before.into()));
        }
        pieces.push(match name {
            "body" => TemplatePiece::Body,
            "timestamp" => TemplatePiece::Timestamp,
            "id" => TemplatePiece::Id,
            "url" => TemplatePiece::Url,
            "method" => TemplatePiece::Method,
            "form" => TemplatePiece::Form,
            _ => {
                let known = "`{body}`, `{timestamp}`, `{id}`, `{url}`, `{method}`";
                return Err(format!("`{{{name}}}` is not known; there are {known}"));
            }
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(TemplatePiece::Text(rest.into()));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_told_from_the_text_between_them() {
        let pieces = parse_template("v0:{timestamp}:{body}").unwrap();
        let text = |text: &str| TemplatePiece::Text(text.into());
        assert_eq!(pieces, [text("v0:"), TemplatePiece::Timestamp, text(":"), TemplatePiece::Body]);
        assert_eq!(
            parse_template("{method}{url}").unwrap(),
            [TemplatePiece::Method, TemplatePiece::Url]
        );
        assert!(parse_template("{secret}").is_err() && parse_template("{body").is_err());
    }
}
