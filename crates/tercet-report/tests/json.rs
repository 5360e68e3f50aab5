//! The JSON object: its keys against `docs/json.md`, its figures, its one line.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;
use tercet_model::{Remedy, Wait};

mod samples;

/// The keys of the object, in their order.
const KEYS: [&str; 23] = [
    "schema",
    "program",
    "python",
    "wall_s",
    "samples",
    "shares",
    "verdict",
    "predictions",
    "lines",
    "threads",
    "processes",
    "unreadable",
    "phases",
    "work",
    "tasks",
    "traffic",
    "symptoms",
    "pool",
    "event_loop",
    "machine",
    "hz",
    "sampler_cpu_share",
    "exit",
];

/// Characters that end a line for some readers, or turn the direction of writing.
const UNSEEN: [char; 3] = ['\u{2028}', '\u{2029}', '\u{202e}'];

const DOCUMENT: &str = include_str!("../../../docs/json.md");

/// To renew: `cargo run -p tercet-report --example sample_report fixed json > crates/tercet-report/tests/expected/fixed.json`.
#[test]
fn the_object_is_as_expected() {
    let report = samples::named("fixed").unwrap();
    assert_eq!(report.report().json(), include_str!("expected/fixed.json").trim_end());
}

#[test]
fn keys_stand_in_their_order() {
    for sample in samples::all() {
        let json = sample.report().json();
        let places: Vec<_> = KEYS.iter().map(|key| top_level(&json, key)).collect();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(object(&json).as_object().unwrap().len(), KEYS.len());
    }
}

#[test]
fn every_key_is_documented_and_every_documented_key_is_there() {
    let json = samples::named("fixed").unwrap().report().json();
    let mut found = BTreeSet::new();
    gather("", &object(&json), &mut found);
    assert_eq!(found, documented_keys());
}

#[test]
fn every_fact_of_the_model_is_in_the_object() {
    let sample = samples::named("fixed").unwrap();
    let json = object(&sample.report().json());
    let model = serde_json::to_value(&sample.profile).unwrap();
    for part in ["phases", "work", "tasks", "traffic", "symptoms", "pool", "event_loop", "machine"] {
        let keys = |value: &Value| value[part].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(keys(&json), keys(&model), "add the new key to `json/fact.rs` and to docs/json.md");
    }
}

#[test]
fn every_kind_and_every_remedy_is_documented() {
    for name in Wait::ALL.iter().map(|kind| kind.name()).chain(Remedy::ALL.iter().map(|remedy| remedy.name())) {
        assert!(DOCUMENT.contains(&format!("\n| `{name}` |")), "`{name}` is not in docs/json.md");
    }
}

#[test]
fn figures_that_are_not_finite_are_null() {
    let mut sample = samples::named("crawl").unwrap();
    sample.profile.wall_s = f64::NAN;
    sample.profile.shares = Wait::ALL.into_iter().map(|kind| (kind, f64::INFINITY)).collect();
    sample.profile.lines[0].share = f64::NEG_INFINITY;
    sample.verdict.predictions[0].bound = Some(f64::INFINITY);
    let json = object(&sample.report().json());
    assert!(json["wall_s"].is_null() && json["shares"]["gc"].is_null());
    assert!(json["lines"][0]["share"].is_null() && json["predictions"][0]["bound"].is_null());
}

#[test]
fn what_does_not_exist_is_null_or_empty() {
    let json = object(&samples::named("empty").unwrap().report().json());
    for key in ["pool", "event_loop", "exit"] {
        assert!(json[key].is_null(), "{key}");
    }
    for key in ["lines", "threads", "processes", "unreadable", "predictions"] {
        assert_eq!(json[key], Value::Array(vec![]), "{key}");
    }
    assert_eq!(json["shares"], object("{}"));
}

#[test]
fn names_come_back_as_they_were() {
    let sample = samples::named("hostile").unwrap();
    let json = object(&sample.report().json());
    assert_eq!(json["program"], sample.subject.program.as_str());
    for (line, seen) in sample.profile.lines.iter().zip(json["lines"].as_array().unwrap()) {
        assert_eq!(seen["file"], line.file.as_str());
    }
}

proptest! {
    #[test]
    fn any_names_make_one_quiet_line(names in prop::collection::vec(any::<String>(), 1..8)) {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let sample = samples::hostile(&names);
        let json = sample.report().json();
        prop_assert!(!json.chars().any(char::is_control));
        prop_assert!(!json.contains(UNSEEN));
        prop_assert_eq!(&object(&json)["program"], sample.subject.program.as_str());
    }

    #[test]
    fn shares_sum_to_one_after_rounding(weights in prop::array::uniform15(1e-9_f64..1.0)) {
        let mut sample = samples::named("crawl").unwrap();
        let weighed = Wait::ALL.into_iter().zip(weights);
        sample.profile.shares = weighed.collect::<tercet_model::Shares>().normalised();
        let json = object(&sample.report().json());
        let sum: f64 = json["shares"].as_object().unwrap().values().filter_map(Value::as_f64).sum();
        prop_assert!((sum - 1.0).abs() < 1e-3, "{sum}");
    }
}

fn object(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

/// Where a key of the outermost object stands.
fn top_level(json: &str, key: &str) -> usize {
    let mut depth = 0;
    let mut in_string = false;
    let mut escaped = false;
    let wanted = format!("\"{key}\":");
    for (index, byte) in json.bytes().enumerate() {
        if depth == 1 && !in_string && json[index..].starts_with(&wanted) {
            return index;
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
    }
    panic!("no key `{key}`")
}

/// The paths of all keys, written as the document writes them.
fn gather(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let is_kind = path.ends_with("shares");
                let key = if is_kind { "<kind>" } else { key.as_str() };
                let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                gather(&path, value, found);
                found.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(&format!("{path}[]"), item, found)),
        _ => {}
    }
}

/// The keys that the tables headed `key` in the document list.
fn documented_keys() -> BTreeSet<String> {
    let mut is_in_keys = false;
    let mut keys = BTreeSet::new();
    for line in DOCUMENT.lines() {
        is_in_keys = line.starts_with("| key ") || is_in_keys && line.starts_with('|');
        if let Some(rest) = line.strip_prefix("| `").filter(|_| is_in_keys) {
            keys.insert(rest[..rest.find('`').unwrap()].to_owned());
        }
    }
    keys
}
