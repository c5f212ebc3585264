//! Tensors of the Open Inference Protocol as rows of JSON, so that one decoder reads every request.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::problem::{Code, Problem};

/// One input of a request.
#[derive(Deserialize)]
pub struct Input<'a> {
    pub name: String,
    pub shape: Vec<u64>,
    pub datatype: String,
    #[serde(default)]
    pub parameters: InputParameters,
    #[serde(borrow)]
    pub data: Option<&'a RawValue>,
}

/// The parameters of an input that are understood; others are ignored.
#[derive(Default, Deserialize)]
pub struct InputParameters {
    /// Bytes of this input behind the JSON.
    pub binary_data_size: Option<usize>,
}

/// One input, its elements as JSON texts in row-major order.
struct Tensor<'a> {
    name: &'a str,
    rows: usize,
    columns: usize,
    elements: Vec<String>,
}

/// The rows of a request as JSON texts: arrays in schema order for one tensor over all features, objects by name
/// for an input a feature. `check_rows` is asked before anything large is built.
pub fn json_rows(
    inputs: &[Input<'_>],
    mut tail: &[u8],
    features: &[(&str, bool)],
    check_rows: impl Fn(usize) -> Result<(), Problem>,
) -> Result<Vec<String>, Problem> {
    let mut tensors = Vec::with_capacity(inputs.len());
    for (index, input) in inputs.iter().enumerate() {
        let at = format!("inputs[{index}]");
        let (rows, columns) = dimensions(&input.shape).map_err(|why| wrong(&at, "shape", why))?;
        check_rows(rows)?;
        let elements = match input.parameters.binary_data_size {
            Some(size) => {
                let (mine, rest) = tail.split_at_checked(size).ok_or_else(|| {
                    wrong(
                        &at,
                        "parameters",
                        "binary_data_size goes beyond the end of the body",
                    )
                })?;
                tail = rest;
                from_bytes(&input.datatype, mine).map_err(|why| wrong(&at, "data", why))?
            }
            None => from_json(&at, input)?,
        };
        if Some(elements.len()) != rows.checked_mul(columns) {
            let why = format!(
                "{} elements do not fill the shape {:?}",
                elements.len(),
                input.shape
            );
            return Err(wrong(&at, "data", why));
        }
        tensors.push(Tensor {
            name: &input.name,
            rows,
            columns,
            elements,
        });
    }
    if !tail.is_empty() {
        return Err(Problem::new(
            Code::InvalidRequest,
            "bytes follow the last input: set Inference-Header-Content-Length and each binary_data_size",
        ));
    }
    join(tensors, features)
}

fn join(tensors: Vec<Tensor<'_>>, features: &[(&str, bool)]) -> Result<Vec<String>, Problem> {
    let Some(first) = tensors.first() else {
        return Err(Problem::new(Code::EmptyRequest, "send at least one input").at("inputs"));
    };
    let by_name = |tensor: &Tensor<'_>| features.iter().any(|(name, _)| *name == tensor.name);
    if tensors.len() == 1 && !(first.columns == 1 && by_name(first)) {
        return Ok(first
            .elements
            .chunks(first.columns)
            .map(|row| format!("[{}]", row.join(",")))
            .collect());
    }
    let rows = first.rows;
    for (index, tensor) in tensors.iter().enumerate() {
        let at = format!("inputs[{index}]");
        if !by_name(tensor) {
            let why = "no feature has this name: send one tensor over all features, or an input a feature";
            return Err(wrong(&at, "name", why));
        }
        if tensor.columns != 1 || tensor.rows != rows {
            return Err(wrong(
                &at,
                "shape",
                format!("expected [{rows}, 1] as in inputs[0]"),
            ));
        }
        if tensors[..index]
            .iter()
            .any(|other| other.name == tensor.name)
        {
            return Err(wrong(&at, "name", "this feature was already given"));
        }
    }
    let names: Vec<String> = tensors
        .iter()
        .map(|tensor| serde_json::json!(tensor.name).to_string())
        .collect();
    Ok((0..rows)
        .map(|row| {
            let members: Vec<String> = tensors
                .iter()
                .zip(&names)
                .map(|(tensor, name)| format!("{name}:{}", tensor.elements[row]))
                .collect();
            format!("{{{}}}", members.join(","))
        })
        .collect())
}

/// Rows and columns of `[rows]` or `[rows, columns]`.
fn dimensions(shape: &[u64]) -> Result<(usize, usize), String> {
    let size = |length: u64| usize::try_from(length).map_err(|_| format!("{length} is too long"));
    match *shape {
        [rows] => Ok((size(rows)?, 1)),
        [rows, columns] if columns > 0 => Ok((size(rows)?, size(columns)?)),
        _ => Err(format!("{shape:?} is not [rows, features] or [rows, 1]")),
    }
}

fn from_json(at: &str, input: &Input<'_>) -> Result<Vec<String>, Problem> {
    if !is_known(&input.datatype) {
        return Err(wrong(at, "datatype", unknown(&input.datatype)));
    }
    let data = input.data.ok_or_else(|| {
        wrong(
            at,
            "data",
            "it is missing, and no binary_data_size is given",
        )
    })?;
    let mut elements = Vec::new();
    flatten(data, 0, &mut elements)
        .map_err(|error| wrong(at, "data", format!("expected an array: {error}")))?;
    Ok(elements)
}

/// Elements of an array, or of arrays in it.
fn flatten(data: &RawValue, depth: usize, out: &mut Vec<String>) -> Result<(), serde_json::Error> {
    let elements: Vec<&RawValue> = serde_json::from_str(data.get())?;
    for element in elements {
        if depth < 2 && element.get().starts_with('[') {
            flatten(element, depth + 1, out)?;
        } else {
            out.push(element.get().to_owned());
        }
    }
    Ok(())
}

const KNOWN: [&str; 12] = [
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP32",
    "FP64", "BYTES",
];

fn is_known(datatype: &str) -> bool {
    KNOWN.contains(&datatype)
}

fn unknown(datatype: &str) -> String {
    let shown: String = datatype
        .chars()
        .take(16)
        .flat_map(char::escape_debug)
        .collect();
    format!("{shown} is not one of {}", KNOWN.join(", "))
}

/// Elements from their little-endian bytes.
fn from_bytes(datatype: &str, bytes: &[u8]) -> Result<Vec<String>, String> {
    match datatype {
        "BOOL" => numbers(bytes, |[byte]: [u8; 1]| Ok((byte != 0).to_string())),
        "UINT8" => numbers(bytes, |raw| Ok(u8::from_le_bytes(raw).to_string())),
        "UINT16" => numbers(bytes, |raw| Ok(u16::from_le_bytes(raw).to_string())),
        "UINT32" => numbers(bytes, |raw| Ok(u32::from_le_bytes(raw).to_string())),
        "UINT64" => numbers(bytes, |raw| Ok(u64::from_le_bytes(raw).to_string())),
        "INT8" => numbers(bytes, |raw| Ok(i8::from_le_bytes(raw).to_string())),
        "INT16" => numbers(bytes, |raw| Ok(i16::from_le_bytes(raw).to_string())),
        "INT32" => numbers(bytes, |raw| Ok(i32::from_le_bytes(raw).to_string())),
        "INT64" => numbers(bytes, |raw| Ok(i64::from_le_bytes(raw).to_string())),
        "FP32" => numbers(bytes, |raw| finite(f32::from_le_bytes(raw).into())),
        "FP64" => numbers(bytes, |raw| finite(f64::from_le_bytes(raw))),
        "BYTES" => texts(bytes),
        _ => Err(unknown(datatype)),
    }
}

fn finite(value: f64) -> Result<String, String> {
    if value.is_finite() {
        Ok(serde_json::json!(value).to_string())
    } else {
        Err(format!(
            "{value} is not a finite number; a missing value is null in JSON data"
        ))
    }
}

fn numbers<const N: usize>(
    bytes: &[u8],
    text: impl Fn([u8; N]) -> Result<String, String>,
) -> Result<Vec<String>, String> {
    let (elements, rest) = bytes.as_chunks::<N>();
    if !rest.is_empty() {
        return Err(format!(
            "{} bytes are not elements of {N} bytes",
            bytes.len()
        ));
    }
    elements.iter().map(|raw| text(*raw)).collect()
}

/// Texts, each behind its length in 4 bytes.
fn texts(mut bytes: &[u8]) -> Result<Vec<String>, String> {
    let cut = || "a text goes beyond the end of its bytes".to_owned();
    let mut elements = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| cut())?;
        let (text, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        let text = std::str::from_utf8(text).map_err(|_| "a text is not UTF-8".to_owned())?;
        elements.push(serde_json::json!(text).to_string());
        bytes = rest;
    }
    Ok(elements)
}

fn wrong(at: &str, member: &str, why: impl std::fmt::Display) -> Problem {
    Problem::new(Code::InvalidRequest, format!("{at}.{member}: {why}")).at(format!("{at}.{member}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEATURES: [(&str, bool); 2] = [("amount", true), ("merchant", false)];

    fn rows_of(inputs: &str, tail: &[u8]) -> Result<Vec<String>, Problem> {
        let inputs: Vec<Input<'_>> = serde_json::from_str(inputs).unwrap();
        json_rows(&inputs, tail, &FEATURES, |_| Ok(()))
    }

    fn field_of(inputs: &str, tail: &[u8]) -> String {
        rows_of(inputs, tail).unwrap_err().field.unwrap_or_default()
    }

    #[test]
    fn a_tensor_is_read_flat_or_nested() {
        for data in ["[1,2.5,3,4]", "[[1,2.5],[3,4]]"] {
            let inputs =
                format!(r#"[{{"name":"x","shape":[2,2],"datatype":"FP64","data":{data}}}]"#);
            assert_eq!(rows_of(&inputs, &[]).unwrap(), ["[1,2.5]", "[3,4]"]);
        }
    }

    #[test]
    fn an_input_a_feature_becomes_objects() {
        let inputs = r#"[{"name":"merchant","shape":[2,1],"datatype":"BYTES","data":["x","y"]},
                         {"name":"amount","shape":[2],"datatype":"FP32","data":[1,null]}]"#;
        assert_eq!(
            rows_of(inputs, &[]).unwrap(),
            [
                r#"{"merchant":"x","amount":1}"#,
                r#"{"merchant":"y","amount":null}"#
            ]
        );
        let one = r#"[{"name":"amount","shape":[2,1],"datatype":"FP32","data":[1,2]}]"#;
        assert_eq!(
            rows_of(one, &[]).unwrap(),
            [r#"{"amount":1}"#, r#"{"amount":2}"#]
        );
    }

    #[test]
    fn binary_tensors_are_read_in_order() {
        let inputs = r#"[{"name":"merchant","shape":[2,1],"datatype":"BYTES",
                          "parameters":{"binary_data_size":11}},
                         {"name":"amount","shape":[2,1],"datatype":"FP32",
                          "parameters":{"binary_data_size":8}}]"#;
        let mut tail = Vec::new();
        for text in ["ab", "\""] {
            tail.extend_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
            tail.extend_from_slice(text.as_bytes());
        }
        for number in [0.5_f32, -3.0] {
            tail.extend_from_slice(&number.to_le_bytes());
        }
        assert_eq!(
            rows_of(inputs, &tail).unwrap(),
            [
                r#"{"merchant":"ab","amount":0.5}"#,
                r#"{"merchant":"\"","amount":-3.0}"#
            ]
        );
    }

    #[test]
    fn every_datatype_has_a_binary_form() {
        for (datatype, bytes, text) in [
            ("BOOL", vec![1], "true"),
            ("UINT8", vec![255], "255"),
            ("INT8", vec![255], "-1"),
            ("UINT16", vec![1, 1], "257"),
            ("INT16", vec![255, 255], "-1"),
            ("UINT32", vec![0, 0, 0, 1], "16777216"),
            ("INT32", vec![255; 4], "-1"),
            ("UINT64", vec![2, 0, 0, 0, 0, 0, 0, 0], "2"),
            ("INT64", vec![255; 8], "-1"),
            ("FP32", 1.5_f32.to_le_bytes().to_vec(), "1.5"),
            ("FP64", 1e-300_f64.to_le_bytes().to_vec(), "1e-300"),
            ("BYTES", vec![1, 0, 0, 0, b'a'], "\"a\""),
        ] {
            assert!(is_known(datatype));
            assert_eq!(from_bytes(datatype, &bytes).unwrap(), [text], "{datatype}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let input = |name: &str, shape: &str, datatype: &str, rest: &str| {
            format!(r#"[{{"name":"{name}","shape":{shape},"datatype":"{datatype}"{rest}}}]"#)
        };
        let data = r#","data":[1,2]"#;
        assert_eq!(
            field_of(&input("x", "[1,3]", "FP32", data), &[]),
            "inputs[0].data"
        );
        assert_eq!(
            field_of(&input("x", "[1,2,1]", "FP32", data), &[]),
            "inputs[0].shape"
        );
        assert_eq!(
            field_of(&input("x", "[1,2]", "FP16", data), &[]),
            "inputs[0].datatype"
        );
        assert_eq!(
            field_of(&input("x", "[1,2]", "FP32", ""), &[]),
            "inputs[0].data"
        );
        let huge = input("x", "[4294967296,4294967296]", "FP32", data);
        assert_eq!(field_of(&huge, &[]), "inputs[0].data");
        let binary = r#","parameters":{"binary_data_size":8}"#;
        let nan = [f32::NAN.to_le_bytes(), 1.0_f32.to_le_bytes()].concat();
        assert_eq!(
            field_of(&input("x", "[1,2]", "FP32", binary), &nan),
            "inputs[0].data"
        );
        assert_eq!(
            field_of(&input("x", "[1,2]", "FP32", binary), &[0]),
            "inputs[0].parameters"
        );
        assert_eq!(rows_of("[]", &[]).unwrap_err().code, Code::EmptyRequest);
        let two = r#"[{"name":"amount","shape":[1,1],"datatype":"FP32","data":[1]},
                      {"name":"amount","shape":[1,1],"datatype":"FP32","data":[1]}]"#;
        assert_eq!(field_of(two, &[]), "inputs[1].name");
        let stranger = r#"[{"name":"amount","shape":[1,1],"datatype":"FP32","data":[1]},
                           {"name":"who","shape":[1,1],"datatype":"FP32","data":[1]}]"#;
        assert_eq!(field_of(stranger, &[]), "inputs[1].name");
    }
}
