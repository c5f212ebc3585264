//! What a person types, and the exit code that a script sees.

use crate::support::{as_csv, file, rows, skewd, skewd_ok};

fn fails(args: &[&str], code: i32, words: &[&str]) {
    let output = skewd(args);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    for word in words {
        assert!(
            text.contains(word),
            "{args:?} does not say {word:?}: {text}"
        );
    }
}

#[test]
fn a_bad_setting_names_key_value_reason_and_fix() {
    fails(
        &["serve", "--set", "learner.gamma=2"],
        78,
        &["learner.gamma", "2", "(0, 1]"],
    );
    fails(
        &["serve", "--set", "learner.lamda=2"],
        78,
        &["learner.lamda", "learner.lambda"],
    );
    fails(
        &["serve", "--set", "source.kind=kafka"],
        78,
        &["kafka.topic"],
    );
    fails(
        &["serve", "--set", "model.kind=forest"],
        78,
        &["model.kind", "linear"],
    );
    fails(
        &["check", "-c", "/no/such/file.toml"],
        78,
        &["/no/such/file.toml"],
    );
    fails(
        &["serve", "--set", "http.listen=0.0.0.0:0"],
        78,
        &["http.listen", "token_file", "insecure"],
    );
}

#[test]
fn a_wrong_command_line_is_usage() {
    fails(&["sevre"], 64, &["serve"]);
    fails(&["replay"], 64, &["FILE"]);
    fails(&["demo", "--rate", "-3"], 64, &[]);
}

#[test]
fn a_file_that_is_no_data_is_named_with_line_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let png = dir.path().join("picture.csv");
    std::fs::write(&png, b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\xff\xfe").unwrap();
    fails(
        &["replay", png.to_str().unwrap()],
        65,
        &["picture.csv", "line", "column"],
    );
    let prose = file(
        dir.path(),
        "prose.txt",
        "It was a dark and stormy night.\nThe rain fell.\n",
    );
    fails(
        &["replay", prose.to_str().unwrap()],
        65,
        &["prose.txt", "line", "column"],
    );
    let broken = file(dir.path(), "broken.jsonl", "{\"a\":1,\"label\":\n{{{\n");
    fails(
        &["replay", broken.to_str().unwrap()],
        65,
        &["broken.jsonl", "line", "column"],
    );
    let empty = file(dir.path(), "empty.csv", "");
    fails(&["replay", empty.to_str().unwrap()], 65, &["empty.csv"]);
    fails(&["replay", "/no/such/file.csv"], 74, &["/no/such/file.csv"]);
}

#[test]
fn a_busy_port_names_the_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    fails(&["demo", "--listen", &address], 64, &["--listen", &address]);
}

#[test]
fn the_demo_ends_when_told_and_its_curl_lines_are_there() {
    let text = skewd_ok(&[
        "demo",
        "--listen",
        "127.0.0.1:0",
        "--rate",
        "4000",
        "--exit-after-seconds",
        "4",
    ]);
    assert_eq!(
        text.lines()
            .filter(|line| line.trim().starts_with("curl "))
            .count(),
        3,
        "{text}"
    );
    assert!(text.contains("CC BY 4.0"));
}

#[test]
fn checkpoints_are_listed_shown_and_exported() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "x.csv", &as_csv(&rows(1200, 4)));
    let data = dir.path().join("data");
    skewd_ok(&[
        "replay",
        path.to_str().unwrap(),
        "--save",
        data.to_str().unwrap(),
    ]);
    let folder = format!("data_dir={}", data.display());
    let list = skewd_ok(&["checkpoint", "ls", "--json", "--set", &folder]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1);
    let out = dir.path().join("model.safetensors");
    skewd_ok(&[
        "checkpoint",
        "export",
        out.to_str().unwrap(),
        "--set",
        &folder,
    ]);
    let bytes = std::fs::read(&out).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let first = tensors.tensor("adam-1.layer.000.weight").unwrap();
    // Four numbers in four forms each, and three shares of each of two classes.
    assert_eq!(first.shape(), [64, 4 * 4 + 3 * 2]);
    fails(
        &["checkpoint", "show", "nothing", "--set", &folder],
        74,
        &["nothing"],
    );
    let empty = dir.path().join("empty");
    fails(
        &[
            "checkpoint",
            "show",
            "--set",
            &format!("data_dir={}", empty.display()),
        ],
        78,
        &["no valid checkpoint"],
    );
}

#[test]
fn completions_are_printed_for_shells() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(skewd_ok(&["completions", shell]).contains("skewd"));
    }
}

#[test]
fn check_says_what_it_found() {
    let dir = tempfile::tempdir().unwrap();
    let text = skewd_ok(&[
        "check",
        "--set",
        &format!("data_dir={}", dir.path().display()),
    ]);
    assert!(
        text.contains("settings   ok") && text.contains("device     cpu"),
        "{text}"
    );
    fails(
        &[
            "check",
            "--set",
            "source.kind=kafka",
            "--set",
            "kafka.topic=t",
            "--set",
            "kafka.brokers=127.0.0.1:1",
        ],
        74,
        &["127.0.0.1:1"],
    );
}

#[test]
fn check_refuses_what_serve_would() {
    let dir = tempfile::tempdir().unwrap();
    let data = format!("data_dir={}", dir.path().display());
    let check = |setting: &str| {
        let output = skewd(&["check", "--set", &data, "--set", setting]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    for key in ["http.token_file", "admin.token_file"] {
        let (code, text) = check(&format!("{key}=/no/such/file"));
        assert_eq!(code, Some(78), "{text}");
        assert!(
            text.contains(key) && text.contains("/no/such/file"),
            "{text}"
        );
    }
    let (code, text) = check("data_dir=/proc/nothing/here");
    assert_eq!(code, Some(74), "{text}");
    assert!(text.contains("data_dir = /proc/nothing/here"), "{text}");
    assert_eq!(check("data_dir=").0, Some(78));
    assert_eq!(check("device=cuda:0").0, Some(78));
    let elsewhere = check("http.listen=192.0.2.1:7000");
    assert_eq!(elsewhere.0, Some(78), "{}", elsewhere.1);
    assert_eq!(check("seed=1").0, Some(0));
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(
        left.len(),
        1,
        "a check leaves the lock's file, and nothing else: {left:?}"
    );
    for (name, harm) in [
        ("examples.redb", b"no log".as_slice()),
        ("journal", b"no folder"),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, harm).unwrap();
        let (code, text) = check("seed=1");
        assert!(matches!(code, Some(74 | 78)), "{name}: {text}");
        assert!(text.contains(name), "{text}");
        std::fs::remove_file(path).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_named() {
    use std::os::unix::ffi::OsStrExt as _;
    let run = |name: &str| {
        let bytes = std::ffi::OsStr::from_bytes(b"caf\xe9");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_skewd"));
        command.arg("check").env(name, bytes).output().unwrap()
    };
    assert_eq!(run("NOT_OURS").status.code(), Some(0));
    let output = run("SKEWD_SEED");
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("SKEWD_SEED") && text.contains("UTF-8"),
        "{text}"
    );
}
