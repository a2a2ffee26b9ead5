//! The text that a signature covers: a template with parts of the request in braces, such as
//! `{timestamp}.{body}`.

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePiece {
    /// Literal text.
    Text(Box<str>),
    Body,
    /// The time, as it is written in the request.
    Timestamp,
    Id,
    /// The address that the sender calls, including its query.
    Url,
    Method,
    /// The fields of a form, sorted, each name followed by its value. Empty for another body,
    /// because its SHA-256 is in the query as `bodySHA256` (Twilio, "Validate requests").
    Form,
}

/// Parses a template. The error says what is wrong with it.
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
                return Err(format!(
                    "`{{{name}}}` is not a placeholder; the placeholders are {known}"
                ));
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
    fn a_template_is_parsed_into_its_pieces() {
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
