//! CSV rows as the JSON objects that a stream carries.

use std::fmt::Write as _;

/// A CSV row as a flat JSON object: what is written as a JSON number stays exactly as written, an empty
/// field is null, the field named `label` is always a text, everything else is a text.
///
/// ```
/// use skewd::stream::producer::row_to_json;
/// let columns = ["amount", "code", "note", "label"].map(String::from);
/// let json = row_to_json(&columns, ["12.50", "007", "", "1"], "label").unwrap();
/// assert_eq!(json, r#"{"amount":12.50,"code":"007","note":null,"label":"1"}"#);
/// ```
///
/// # Errors
/// When the row has more or fewer fields than there are columns.
pub fn row_to_json<'a>(
    columns: &[String],
    fields: impl IntoIterator<Item = &'a str>,
    label: &str,
) -> Result<String, String> {
    let mut json = String::with_capacity(columns.len() * 16);
    let mut count = 0;
    for field in fields {
        let Some(column) = columns.get(count) else {
            return Err(format!(
                "the row has more than the {} fields of the header",
                columns.len()
            ));
        };
        json.push(if count == 0 { '{' } else { ',' });
        push_text(&mut json, column);
        json.push(':');
        if field.is_empty() {
            json.push_str("null");
        } else if column != label && is_json_number(field.trim()) {
            json.push_str(field.trim());
        } else {
            push_text(&mut json, field);
        }
        count += 1;
    }
    if count < columns.len() {
        return Err(format!(
            "the row has {count} fields, the header {}",
            columns.len()
        ));
    }
    json.push_str(if count == 0 { "{}" } else { "}" });
    Ok(json)
}

/// Writes a JSON text with its quotes.
fn push_text(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            control if control < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(json, "\\u{:04x}", control as u32);
            }
            other => json.push(other),
        }
    }
    json.push('"');
}

/// The grammar of RFC 8259: no plus sign, no leading zeros, digits on both sides of the point.
fn is_json_number(text: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut rest = text.strip_prefix('-').unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest.starts_with('0')) {
        return false;
    }
    rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let count = digits(exponent);
        if count == 0 {
            return false;
        }
        rest = &exponent[count..];
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_json_grammar_is_a_number() {
        for number in [
            "0",
            "-0",
            "12",
            "1.50",
            "-3.25e+10",
            "1E5",
            "123456789012345678901234567890",
            "0.0",
        ] {
            assert!(is_json_number(number), "{number}");
            assert!(serde_json::from_str::<f64>(number).is_ok(), "{number}");
        }
        for text in [
            "", "-", "+1", "01", ".5", "5.", "1e", "1e+", "0x10", "NaN", "inf", "1,5", "1 2", "--1",
        ] {
            assert!(!is_json_number(text), "{text}");
        }
    }

    #[test]
    fn digits_are_kept_as_written() {
        let columns = ["a".to_owned(), "b".to_owned()];
        let json = row_to_json(
            &columns,
            ["0.1000000000000000055511151231257827", " 2 "],
            "label",
        )
        .unwrap();
        assert_eq!(json, r#"{"a":0.1000000000000000055511151231257827,"b":2}"#);
    }

    #[test]
    fn texts_are_escaped_so_that_they_come_back() {
        let columns = ["a \"quoted\" name".to_owned(), "label".to_owned()];
        let text = "line\nbreak\t\"quote\" back\\slash \u{1} \u{e9}";
        let json = row_to_json(&columns, [text, "3"], "label").unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["a \"quoted\" name"], text);
        assert_eq!(value["label"], "3");
    }

    #[test]
    fn an_empty_label_is_null_and_rows_must_fit_the_header() {
        let columns = ["a".to_owned(), "label".to_owned()];
        assert_eq!(
            row_to_json(&columns, ["1", ""], "label").unwrap(),
            r#"{"a":1,"label":null}"#
        );
        assert!(
            row_to_json(&columns, ["1"], "label")
                .unwrap_err()
                .contains("1 fields")
        );
        assert!(row_to_json(&columns, ["1", "2", "3"], "label").is_err());
        assert_eq!(row_to_json(&[], [], "label").unwrap(), "{}");
    }
}
