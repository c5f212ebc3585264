use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::codec::Reason;

fn reject() -> Reject {
    Reject {
        reason: Reason::Syntax,
        detail: "line 1".to_owned(),
    }
}

fn post(file: &mut FileDeadLetters, offset: i64) -> io::Result<()> {
    file.write("embedded", &Record::new(0, offset, "{"), &reject())
}

fn letters(path: &Path) -> Vec<Value> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn offsets(path: &Path) -> Vec<i64> {
    let offset = |letter: &Value| letter["offset"].as_i64().unwrap();
    letters(path).iter().map(offset).collect()
}

#[test]
fn a_letter_holds_every_byte_and_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dead.jsonl");
    let mut file = FileDeadLetters::open(&path, 1 << 20).unwrap();
    let mut record = Record::new(3, 17, &b"{\"a\":\n\"\xff"[..]);
    record.key = Some(bytes::Bytes::from_static(b"k"));
    record.timestamp_ms = Some(-5);
    record.headers = vec![("h".to_owned(), None), ("h".to_owned(), Some("v".into()))];
    file.write("clicks", &record, &reject()).unwrap();
    file.flush().unwrap();
    let letter = &letters(&path)[0];
    let value = STANDARD.decode(letter["value_base64"].as_str().unwrap());
    assert_eq!(value.unwrap(), b"{\"a\":\n\"\xff");
    assert_eq!(letter["key"], "k");
    assert_eq!(letter["timestamp_ms"], -5);
    let headers = letter["headers"].as_array().unwrap();
    assert_eq!(headers[0], json!({"key": "h", "value": null}));
    assert_eq!(headers[1], json!({"key": "h", "value": "v"}));
    for (name, value) in [
        ("topic", "clicks"),
        ("partition", "3"),
        ("offset", "17"),
        ("stage", "VALUE_CONVERTER"),
        ("exception.class.name", "syntax"),
        ("exception.message", "line 1"),
    ] {
        let wanted = json!({"key": format!("__connect.errors.{name}"), "value": value});
        assert!(headers.contains(&wanted), "{name}");
    }
}

#[test]
fn a_full_file_makes_room_and_no_letter_between_the_two_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dead.jsonl");
    let older = dir.path().join("dead.jsonl.1");
    let mut file = FileDeadLetters::open(&path, 2500).unwrap();
    for offset in 0..40 {
        post(&mut file, offset).unwrap();
        if offset % 3 == 0 {
            file.flush().unwrap();
        }
    }
    file.flush().unwrap();
    assert!(fs::metadata(&path).unwrap().len() <= 2500);
    assert!(fs::metadata(&older).unwrap().len() <= 2500);
    let kept = [offsets(&older), offsets(&path)].concat();
    let expected: Vec<i64> = (kept[0]..40).collect();
    assert_eq!(kept, expected);
    assert!(offsets(&older).len() > 1);
}

#[test]
fn a_letter_larger_than_the_limit_is_written_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dead.jsonl");
    let mut file = FileDeadLetters::open(&path, 10).unwrap();
    for offset in 0..3 {
        post(&mut file, offset).unwrap();
    }
    file.flush().unwrap();
    assert_eq!(offsets(&path), [2]);
    assert_eq!(offsets(&dir.path().join("dead.jsonl.1")), [1]);
}

#[test]
fn letters_of_an_earlier_run_stay_and_the_half_line_of_a_crash_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dead.jsonl");
    for torn in [0, 1, 100, 200 << 10] {
        let mut file = FileDeadLetters::open(&path, 1 << 30).unwrap();
        post(&mut file, torn).unwrap();
        file.flush().unwrap();
        let mut text = fs::read(&path).unwrap();
        text.resize(text.len() + torn as usize, b'x');
        fs::write(&path, text).unwrap();
    }
    let mut file = FileDeadLetters::open(&path, 1 << 30).unwrap();
    post(&mut file, 7).unwrap();
    file.flush().unwrap();
    assert_eq!(offsets(&path), [0, 1, 100, 200 << 10, 7]);
}

#[test]
fn what_a_fault_left_behind_is_written_again_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dead.jsonl");
    let mut file = FileDeadLetters::open(&path, 1 << 20).unwrap();
    post(&mut file, 0).unwrap();
    file.flush().unwrap();
    post(&mut file, 1).unwrap();
    // A file that may only be read fails every write, as a full disk would.
    file.file = Some(File::open(&path).unwrap());
    assert!(file.flush().is_err());
    // Half of the letter has reached the file.
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"topic\":\"emb");
    fs::write(&path, text).unwrap();
    post(&mut file, 2).unwrap();
    file.flush().unwrap();
    assert_eq!(offsets(&path), [0, 1, 2]);
}

#[cfg(unix)]
#[test]
fn a_full_disk_refuses_the_letter_and_names_the_file() {
    // Every write to this device fails with "no space left".
    let full = PathBuf::from("/dev/full");
    let mut file = FileDeadLetters {
        identity: identity(&fs::metadata(&full).unwrap()),
        path: full,
        max_bytes: 1 << 20,
        file: Some(OpenOptions::new().write(true).open("/dev/full").unwrap()),
        bytes: 0,
        waiting: Vec::new(),
    };
    post(&mut file, 0).unwrap();
    let error = file.flush().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(error.to_string().starts_with("/dev/full: "), "{error}");
    assert!(!file.waiting.is_empty());
}

#[test]
fn a_file_that_was_taken_away_is_made_again_at_the_next_turn() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dead.jsonl");
    let mut file = FileDeadLetters::open(&path, 10).unwrap();
    post(&mut file, 0).unwrap();
    file.flush().unwrap();
    fs::remove_file(&path).unwrap();
    post(&mut file, 1).unwrap();
    file.flush().unwrap();
    assert_eq!(offsets(&path), [1]);
}

#[test]
fn letters_to_a_file_that_was_deleted_or_replaced_are_told_and_written_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dead.jsonl");
    let mut file = FileDeadLetters::open(&path, 1 << 20).unwrap();
    post(&mut file, 0).unwrap();
    file.flush().unwrap();
    fs::remove_file(&path).unwrap();
    post(&mut file, 1).unwrap();
    let error = file.flush().unwrap_err();
    assert!(error.to_string().contains("removed or replaced"), "{error}");
    file.flush().unwrap();
    assert_eq!(offsets(&path), [1]);
    // Lines of somebody else stay, and what is no line of theirs goes.
    let theirs = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, [&theirs[..], &theirs, b"half a li"].concat()).unwrap();
    post(&mut file, 2).unwrap();
    assert!(file.flush().is_err());
    file.flush().unwrap();
    assert_eq!(offsets(&path), [1, 1, 2]);
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing").join("dead.jsonl");
    let Err(error) = FileDeadLetters::open(&path, 10) else {
        panic!("opened")
    };
    assert!(error.to_string().contains("missing"), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_come_back_from_a_letter(
        value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..50)),
        key in proptest::option::of(".{0,20}"),
    ) {
        let mut record = Record::new(0, 1, "");
        record.payload = value.clone().map(Into::into);
        record.key = key.clone().map(Into::into);
        let line = letter::line("t", &record, &reject());
        prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let letter: Value = serde_json::from_slice(&line).unwrap();
        let back = match (letter["value"].as_str(), letter["value_base64"].as_str()) {
            (Some(text), None) => Some(text.as_bytes().to_vec()),
            (None, Some(text)) => Some(STANDARD.decode(text).unwrap()),
            _ => None,
        };
        prop_assert_eq!(back, value);
        prop_assert_eq!(letter["key"].as_str(), key.as_deref());
    }
}
