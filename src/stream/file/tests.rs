use proptest::prelude::*;

use super::*;

fn source(texts: &[(&str, &[u8])]) -> (tempfile::TempDir, Result<FileSource, Error>) {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = texts
        .iter()
        .map(|(name, text)| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        })
        .collect();
    let source = FileSource::open(&paths, "label");
    (dir, source)
}

fn all(source: &mut FileSource) -> Vec<String> {
    let mut records = Vec::new();
    while source.poll(Duration::ZERO, 2, &mut records).unwrap() == Polled::Records {}
    assert!(
        records
            .iter()
            .enumerate()
            .all(|(at, record)| record.offset == at as i64)
    );
    records
        .into_iter()
        .map(|record| String::from_utf8(record.payload.unwrap().to_vec()).unwrap())
        .collect()
}

fn refused(name: &str, text: &[u8]) -> String {
    match source(&[(name, text)]).1 {
        Err(Error::Data(reason)) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("{name} was taken"),
    }
}

#[test]
fn quoted_fields_may_hold_line_ends_and_stray_quotes_are_text() {
    let text = b"a,b,label\r\n1,\"two\r\nlines\",x\r\n\r\n2,5\" pipe,y\n3,\"a \"\"b\"\",\n\",z";
    let (_dir, source) = source(&[("x.csv", text)]);
    let mut source = source.unwrap();
    assert_eq!(source.columns().unwrap(), ["a", "b", "label"]);
    let expected = [
        "1,\"two\r\nlines\",x",
        "2,5\" pipe,y",
        "3,\"a \"\"b\"\",\n\",z",
    ];
    assert_eq!(all(&mut source), expected);
    assert_eq!(source.bytes_read(), source.bytes_total());
    source.rewind().unwrap();
    assert_eq!(source.bytes_read(), 0);
    assert_eq!(all(&mut source), expected);
}

#[test]
fn json_lines_lose_marks_and_blank_lines_only() {
    let (_dir, source) = source(&[(
        "x.txt",
        b"\xef\xbb\xbf\n{\"a\":1}\r\n\n  \nbroken\n{\"a\":2}",
    )]);
    let mut source = source.unwrap();
    assert!(source.columns().is_none());
    assert_eq!(all(&mut source), ["{\"a\":1}", "broken", "{\"a\":2}"]);
}

#[test]
fn files_are_one_stream_and_must_go_together() {
    let (_dir, two) = source(&[("a.csv", b"a,label\n1,x\n"), ("b.csv", b"a,label\n2,y\n")]);
    assert_eq!(all(&mut two.unwrap()), ["1,x", "2,y"]);
    let (_dir, other) = source(&[("a.csv", b"a,label\n1,x\n"), ("b.csv", b"b,label\n2,y\n")]);
    let Err(Error::Data(reason)) = other else {
        panic!("taken")
    };
    assert!(
        reason.contains("b.csv, line 1, column 1") && reason.contains("a.csv"),
        "{reason}"
    );
}

#[test]
fn compressed_files_are_read_as_they_are() {
    let text = zstd::encode_all(&b"a,label\n1,x\n"[..], 1).unwrap();
    let (_dir, packed) = source(&[("a.csv.zst", &text)]);
    let mut packed = packed.unwrap();
    assert_eq!(all(&mut packed), ["1,x"]);
    assert_eq!(packed.bytes_total(), text.len() as u64);
    // A file that was cut is an error, not an end.
    let (_dir, cut) = source(&[("a.csv.zst", &text[..text.len() - 3])]);
    let mut cut = cut.unwrap();
    for _ in 0..2 {
        let polled = cut.poll(Duration::ZERO, 10, &mut Vec::new());
        assert!(matches!(polled, Err(Error::Data(reason)) if reason.contains("cut short")));
    }
    assert_eq!(cut.status().state, "halted");
}

#[test]
fn what_is_no_data_is_refused_with_its_place() {
    assert!(refused("x.csv", b"\x89PNG\r\n\x1a\n").contains("line 1, column 1"));
    assert!(refused("x.csv", b"ab\xff,label\n").contains("line 1, column 3"));
    assert!(refused("x.csv", b"").contains("no record"));
    assert!(refused("x.txt", b"some words\n").contains("\"label\""));
    assert!(refused("x.json", b"\n\n[{\"a\":1}]").contains("line 3, column 1"));
    let missing = FileSource::open(&[PathBuf::from("/no/such.csv")], "label");
    assert!(matches!(missing, Err(Error::Io(reason)) if reason.contains("/no/such.csv")));
}

#[test]
fn an_input_without_a_single_record_names_its_first_fault() {
    let (_dir, broken) = source(&[("x.jsonl", b"\n{\"a\":1,}\n{{\n")]);
    let mut broken = broken.unwrap();
    assert_eq!(all(&mut broken).len(), 2);
    let rejected = BTreeMap::from([("syntax", 2)]);
    let reason = broken.nothing_parsed(&rejected, 2).unwrap();
    assert!(reason.contains("x.jsonl, line 2, column 8"), "{reason}");
    assert_eq!(
        broken.nothing_parsed(&BTreeMap::from([("syntax", 1)]), 2),
        None
    );
    assert!(
        broken
            .nothing_parsed(&BTreeMap::new(), 0)
            .unwrap()
            .contains("no record")
    );
}

#[test]
fn an_endless_line_is_cut_and_the_next_record_is_whole() {
    let mut text = b"{\"a\":\"".to_vec();
    text.resize(20 << 20, b'x');
    text.extend_from_slice(b"\n{\"a\":2}\n");
    let (_dir, long) = source(&[("x.jsonl", &text)]);
    let mut long = long.unwrap();
    let records = all(&mut long);
    assert_eq!(records[0].len(), 16 << 20);
    assert_eq!(records[1], "{\"a\":2}");
}

#[test]
fn the_name_decides_before_the_first_byte() {
    let (_dir, json) = source(&[("x.jsonl", b"oops\n{\"a\":1}\n")]);
    assert_eq!(all(&mut json.unwrap()), ["oops", "{\"a\":1}"]);
    let (_dir, csv) = source(&[("x.CSV", b"{a},label\n1,x\n")]);
    assert_eq!(csv.unwrap().columns().unwrap(), ["{a}", "label"]);
    let (_dir, none) = source(&[("x.ndjson", b"\n")]);
    assert!(all(&mut none.unwrap()).is_empty());
    let (_dir, mixed) = source(&[("x.jsonl", b"{}\n"), ("y.csv", b"a,label\n")]);
    assert!(matches!(mixed, Err(Error::Data(reason)) if reason.contains("y.csv")));
}

#[test]
fn an_open_quote_is_an_error_with_its_place_and_not_one_large_record() {
    let (_dir, open) = source(&[("x.csv", b"a,label\r\n1,x\r\n2,\"y\nz\",\n3,\"q\n4,r\n")]);
    let mut open = open.unwrap();
    let mut records = Vec::new();
    let polled = open.poll(Duration::ZERO, 10, &mut records).unwrap();
    assert_eq!((polled, records.len()), (Polled::Records, 2));
    for _ in 0..2 {
        match open.poll(Duration::ZERO, 10, &mut records) {
            Err(Error::Data(reason)) => assert!(reason.contains("line 5, column 3"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(records.len(), 2);
    open.rewind().unwrap();
    let polled = open.poll(Duration::ZERO, 1, &mut records).unwrap();
    assert_eq!((polled, records[2].offset), (Polled::Records, 0));
}

#[test]
fn what_a_file_is_not_is_said() {
    assert!(refused("x.csv", b"\x1f\x8b\x08\x00").contains("zstd"));
    assert!(refused("x.csv", b"a,label\r1,x\r").contains("column 8"));
    assert!(refused("x.csv", b"a,\"label\n1,2\n").contains("line 1, column 3"));
    let dir = tempfile::tempdir().unwrap();
    let folder = FileSource::open(&[dir.path().to_owned()], "label");
    assert!(matches!(folder, Err(Error::Io(reason)) if reason.contains("regular file")));
    let (_dir, png) = source(&[("x.json", b"\x89PNG\r\n\x1a\n\x00\x00")]);
    let mut png = png.unwrap();
    let mut records = Vec::new();
    assert_eq!(
        png.poll(Duration::ZERO, 10, &mut records).unwrap(),
        Polled::Records
    );
    let rows = records.len() as u64;
    let reason = png.nothing_parsed(&BTreeMap::from([("syntax", rows)]), rows);
    assert!(reason.unwrap().contains("x.json, line 1, column 1"));
}

#[test]
fn a_file_that_changes_its_header_under_the_reader_is_noticed() {
    let (dir, changed) = source(&[("x.csv", b"a,label\n1,x\n")]);
    let mut changed = changed.unwrap();
    std::fs::write(dir.path().join("x.csv"), "label,a\nx,1\n").unwrap();
    let polled = changed.poll(Duration::ZERO, 1, &mut Vec::new());
    assert!(matches!(polled, Err(Error::Data(reason)) if reason.contains("changed")));
}

#[test]
fn no_record_wanted_is_not_the_end() {
    let (_dir, some) = source(&[("x.jsonl", b"{}\n")]);
    assert_eq!(
        some.unwrap()
            .poll(Duration::ZERO, 0, &mut Vec::new())
            .unwrap(),
        Polled::Idle
    );
}

/// The fields of every record, as the CSV library takes `text` apart.
fn fields(text: &[u8]) -> Vec<Vec<Vec<u8>>> {
    csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text)
        .into_byte_records()
        .map(|record| record.unwrap().iter().map(<[u8]>::to_vec).collect())
        .collect()
}

proptest! {
    #[test]
    fn csv_is_cut_into_records_where_the_csv_library_cuts_it(
        pieces in proptest::collection::vec(
            prop_oneof![Just("a"), Just(","), Just("\""), Just("\"\""), Just("\n"), Just("\r\n"), Just(",\"b")],
            0..40,
        ),
    ) {
        let text = format!("l,label\n{}", pieces.concat());
        let (_dir, cut) = source(&[("x.csv", text.as_bytes())]);
        let mut cut = cut.unwrap();
        let mut records = Vec::new();
        let end = loop {
            match cut.poll(Duration::ZERO, 3, &mut records) {
                Ok(Polled::Records) => {}
                Ok(_) => break true,
                Err(_) => break false,
            }
        };
        let whole = &fields(text.as_bytes())[1..];
        let single: Vec<_> = records
            .iter()
            .flat_map(|record| fields(record.payload.as_ref().unwrap()))
            .collect();
        prop_assert_eq!(&whole[..single.len()], single.as_slice());
        // An open quote is one record more to the library, an error here.
        prop_assert_eq!(whole.len(), single.len() + usize::from(!end));
    }
}
