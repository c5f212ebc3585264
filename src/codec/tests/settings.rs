//! Which settings are refused, and under which key.

use super::strings;
use crate::codec::Settings;

fn refused(change: impl FnOnce(&mut Settings)) -> Option<String> {
    let mut settings = Settings {
        features: strings(&["a", "b.c"]),
        ..Settings::default()
    };
    assert_eq!(settings.check(), Ok(()));
    change(&mut settings);
    let (key, reason) = settings.check().err()?;
    assert!(reason.contains(';'), "no way out in: {reason}");
    Some(key)
}

#[test]
fn contradictions_are_refused_with_their_key() {
    type Change = fn(&mut Settings);
    let cases: [(&str, Change); 20] = [
        ("label", |s| s.label.clear()),
        ("label", |s| s.label = "a..b".into()),
        ("label", |s| s.label = "features".into()),
        ("features", |s| s.label = "a".into()),
        ("features", |s| s.features.push("a".into())),
        ("features", |s| s.features.push(String::new())),
        ("features", |s| s.features.push(["x"; 17].join("."))),
        ("features", |s| {
            s.features = (0..16_385).map(|i| format!("f{i}")).collect()
        }),
        ("categorical", |s| s.categorical = vec!["zz".into()]),
        ("ignore", |s| s.ignore = vec!["a".into()]),
        ("ignore", |s| s.ignore = vec!["label".into()]),
        ("weight", |s| (s.weight, s.id) = ("w".into(), "w".into())),
        ("id", |s| s.id = "label".into()),
        ("classes", |s| s.classes = vec!["one".into()]),
        ("classes", |s| s.classes = strings(&["one", "one"])),
        ("classes", |s| s.classes = vec!["x".into(), "y".repeat(257)]),
        ("max_classes", |s| s.max_classes = 1),
        ("discover_records", |s| s.discover_records = 0),
        ("category_buckets", |s| s.category_buckets = 0),
        ("max_record_bytes", |s| s.max_record_bytes = 0),
    ];
    for (index, (key, change)) in cases.into_iter().enumerate() {
        assert_eq!(refused(change).as_deref(), Some(key), "case {index}");
    }
}

#[test]
fn sound_settings_are_accepted() {
    assert_eq!(refused(|s| s.categorical = vec!["a".into()]), None);
    assert_eq!(refused(|s| s.ignore = strings(&["b", "z.y"])), None);
    assert_eq!(
        refused(|s| (s.features, s.categorical) = (vec![], vec!["m".into()])),
        None
    );
    assert_eq!(refused(|s| s.classes = strings(&["", "NA"])), None);
}

#[test]
fn unknown_keys_and_values_are_refused_by_name() {
    let parse = |text: &str| toml::from_str::<Settings>(text).map_err(|error| error.to_string());
    assert!(
        parse("encoding = \"log\"")
            .unwrap_err()
            .contains("`raw`, `standard`, `robust`")
    );
    assert!(parse("lable = \"x\"").unwrap_err().contains("lable"));
    assert!(parse("format = \"xml\"").unwrap_err().contains("`flat`"));
    assert_eq!(parse(""), Ok(Settings::default()));
    let settings = Settings {
        features: strings(&["a"]),
        ..Settings::default()
    };
    let text = toml::to_string(&settings).expect("settings are TOML");
    assert_eq!(parse(&text), Ok(settings));
}
