//! Hostile files: each parser says of every file in `tests/golden/hostile` what `expected.json` says, and survives
//! what chance makes of them. A fuzzer that looks further is in `fuzz/`; what it finds is kept here.

mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use targets::Target;

/// Rounds of [`damage`] for each target, unless `BITSMITH_DAMAGE_ROUNDS` says otherwise.
const ROUNDS: u32 = 400;
/// What parsers of JSON, of numbers and of names stumble over.
const TOKENS: [&str; 16] = [
    "0",
    "-1",
    "1e999",
    "18446744073709551615",
    "9223372036854775808",
    "null",
    "true",
    "\"\"",
    "[]",
    "{}",
    "\\u0000",
    "re:",
    "g",
    "\u{feff}",
    "[[[[",
    ",",
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hostile")
}

/// The content of each file of a target, by name.
fn files(target: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder().join(target)).unwrap_or_else(|e| panic!("{target}: {e}"));
    let named = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    entries.map(|entry| named(entry.unwrap())).collect()
}

/// By `target/file`, a part of the error's text; nothing for a file that is accepted.
fn expected() -> BTreeMap<String, Option<String>> {
    serde_json::from_slice(&fs::read(folder().join("expected.json")).unwrap()).unwrap()
}

#[test]
fn every_file_gets_its_answer() {
    let expected = expected();
    let mut found = BTreeSet::new();
    let mut faults = Vec::new();
    for (target, parse) in targets::ALL {
        for (file, bytes) in files(target) {
            let name = format!("{target}/{file}");
            let answer = parse(&bytes).err().map(|e| e.to_string());
            let right = match (expected.get(&name), &answer) {
                (Some(Some(part)), Some(answer)) => answer.contains(part),
                (Some(None), None) => true,
                _ => false,
            };
            if !right {
                faults.push(format!("{name}: {answer:?}, expected {:?}", expected.get(&name)));
            }
            found.insert(name);
        }
    }
    faults.extend(expected.keys().filter(|name| !found.contains(*name)).map(|name| format!("{name} is missing")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// One change of a file.
#[derive(Clone, Debug)]
enum Damage {
    Cut(prop::sample::Index),
    Set(prop::sample::Index, u8),
    Remove(prop::sample::Index, usize),
    Insert(prop::sample::Index, &'static str),
    Repeat(prop::sample::Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        1 => at().prop_map(Damage::Cut),
        4 => (at(), any::<u8>()).prop_map(|(at, value)| Damage::Set(at, value)),
        4 => (at(), 1..20_usize).prop_map(|(at, length)| Damage::Remove(at, length)),
        4 => (at(), prop::sample::select(&TOKENS[..])).prop_map(|(at, token)| Damage::Insert(at, token)),
        2 => (at(), 1..100_usize).prop_map(|(at, length)| Damage::Repeat(at, length)),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |at: &prop::sample::Index| at.index(bytes.len() + 1);
        match self {
            Self::Cut(at) => bytes.truncate(place(at)),
            Self::Set(at, value) => {
                let at = place(at);
                bytes.splice(at..(at + 1).min(bytes.len()), [*value]);
            }
            Self::Remove(at, length) => drop(bytes.drain(place(at)..(place(at) + length).min(bytes.len()))),
            Self::Insert(at, token) => drop(bytes.splice(place(at)..place(at), token.bytes())),
            Self::Repeat(at, length) => {
                let at = place(at);
                bytes.extend_from_within(at..(at + length).min(bytes.len()));
            }
        }
    }
}

/// Changes files of a target at random; the target's own checks are the assertions.
fn survives(name: &str) {
    let (_, parse): (_, Target) = targets::ALL.into_iter().find(|(n, _)| *n == name).unwrap();
    let seeds: Vec<_> = files(name).into_values().collect();
    let cases = (prop::sample::select(seeds), prop::collection::vec(damage(), 1..4));
    let rounds = std::env::var("BITSMITH_DAMAGE_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut runner = TestRunner::new(Config::with_cases(rounds));
    let result = runner.run(&cases, |(mut bytes, damages)| {
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        let _ = parse(&bytes);
        Ok(())
    });
    result.unwrap_or_else(|e| panic!("{name}: {e}"));
}

macro_rules! survives {
    ($($name:ident),*) => {
        mod damaged {
            $(#[test] fn $name() { super::survives(stringify!($name)); })*

            #[test]
            fn all_of_them() {
                assert_eq!(super::targets::ALL.map(|(name, _)| name), [$(stringify!($name)),*]);
            }
        }
    };
}

survives!(
    header,
    gguf,
    index,
    config,
    tokenizer,
    quantization,
    scheme,
    plan,
    record,
    pattern,
    text,
    settings,
    name,
    rows,
    parquet
);
