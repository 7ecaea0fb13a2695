//! Reading settings from a tree: every shape that serde knows, and errors that point at the right place and say what to do.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use monchero_core::node::{Key, Node, SecretSource, Secrets, SettingsError, Span, Value, nearest, suggest};
use monchero_core::secret::MaybeSecret;
use monchero_core::{Range, Secret};
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Reads the flow style of YAML, as far as these tests write it: `{a: 1, b: [x, "y"], c: ~}`.
struct Reader<'t> {
    text: &'t str,
    position: usize,
}

impl Reader<'_> {
    fn skip(&mut self) -> Option<char> {
        self.position +=
            self.text[self.position..].len() - self.text[self.position..].trim_start_matches([' ', ',', '\n']).len();
        self.text[self.position..].chars().next()
    }

    fn scalar(&mut self) -> (Span, Box<str>, bool) {
        let start = self.position;
        let rest = &self.text[start..];
        let quoted = rest.starts_with('"');
        let length = if quoted {
            rest[1..].find('"').unwrap() + 2
        } else {
            rest.find([',', ']', '}', ':']).unwrap_or(rest.len())
        };
        self.position += length;
        let text = if quoted { &rest[1..length - 1] } else { rest[..length].trim_end() };
        (span(start, start + text.len() + if quoted { 2 } else { 0 }), Box::from(text), quoted)
    }

    fn node(&mut self) -> Node {
        let first = self.skip();
        let start = self.position;
        let value = match first {
            Some('[') => {
                self.position += 1;
                let mut items = Vec::new();
                while self.skip() != Some(']') {
                    items.push(self.node());
                }
                self.position += 1;
                Value::List(items)
            }
            Some('{') => {
                self.position += 1;
                let mut entries = Vec::new();
                while self.skip() != Some('}') {
                    let (span, name, _) = self.scalar();
                    assert_eq!(&self.text[self.position..=self.position], ":");
                    self.position += 1;
                    entries.push((Key { span, name }, self.node()));
                }
                self.position += 1;
                Value::Map(entries)
            }
            _ => {
                let (span, text, quoted) = self.scalar();
                let value = if &*text == "~" && !quoted { Value::Null } else { Value::Scalar { text, quoted } };
                return Node { span, value };
            }
        };
        Node { span: span(start, self.position), value }
    }
}

fn span(start: usize, end: usize) -> Span {
    Span { file: 3, start: u32::try_from(start).unwrap(), end: u32::try_from(end).unwrap() }
}

fn tree(text: &str) -> Node {
    Reader { text, position: 0 }.node()
}

/// A loader that knows a few secrets.
struct Loader;

impl Secrets for Loader {
    fn fetch(&self, source: SecretSource<'_>) -> Result<String, String> {
        match source {
            SecretSource::Text(text, _) => Ok(format!("text:{text}")),
            SecretSource::File(path) if path.starts_with('/') => Ok(format!("file:{path}")),
            SecretSource::File(path) => Err(format!("cannot read `{path}`: no such file")),
            SecretSource::Env(name) => Ok(format!("env:{name}")),
            SecretSource::Credential(name) => Ok(format!("credential:{name}")),
        }
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, SettingsError> {
    tree(text).read(None, &Loader)
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Settings {
    text: String,
    #[serde(default)]
    maybe: Option<u16>,
    #[serde(default)]
    list: Vec<String>,
    #[serde(default)]
    map: BTreeMap<String, i64>,
    #[serde(default)]
    nested: Option<Box<Nested>>,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    range: Option<Range>,
    #[serde(default, with = "monchero_core::duration::option")]
    interval: Option<Duration>,
    #[serde(default)]
    pair: (u8, String),
    #[serde(default)]
    truth: bool,
    #[serde(default)]
    ratio: f64,
    #[serde(default)]
    letter: char,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Nested {
    port: u16,
    #[serde(default)]
    hosts: Vec<Host>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Host {
    name: String,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Quick,
    Slow,
    After(u32),
    Between(u32, u32),
    Window {
        from: u32,
        to: u32,
    },
}

#[test]
fn every_shape_is_read() {
    let settings: Settings = read(
        "{text: hello, maybe: 8080, list: [a, 1, true], map: {x: -1, y: 2}, nested: {port: 443, hosts: [{name: a}, {name: b}]}, mode: slow,
          range: > 90%, interval: 1m30s, pair: [7, x], truth: true, ratio: -0.25, letter: 5}",
    )
    .unwrap();
    assert_eq!(
        settings,
        Settings {
            text: "hello".to_owned(),
            maybe: Some(8080),
            list: ["a", "1", "true"].map(str::to_owned).to_vec(),
            map: BTreeMap::from([("x".to_owned(), -1), ("y".to_owned(), 2)]),
            nested: Some(Box::new(Nested {
                port: 443,
                hosts: ["a", "b"].map(|name| Host { name: name.to_owned() }).into()
            })),
            mode: Mode::Slow,
            range: Some(Range::parse("> 90%").unwrap()),
            interval: Some(Duration::from_secs(90)),
            pair: (7, "x".to_owned()),
            truth: true,
            ratio: -0.25,
            letter: '5',
        }
    );
    let least: Settings = read("{text: ~x, maybe: ~, nested: ~}").unwrap();
    assert_eq!((least.text.as_str(), least.maybe, least.nested), ("~x", None, None));
}

#[test]
fn variants_are_words_or_maps_with_one_key() {
    for (text, mode) in [
        ("quick", Mode::Quick),
        ("{slow: ~}", Mode::Slow),
        ("{after: 5}", Mode::After(5)),
        ("{between: [1, 2]}", Mode::Between(1, 2)),
        ("{window: {from: 1, to: 2}}", Mode::Window { from: 1, to: 2 }),
    ] {
        assert_eq!(read::<Mode>(text), Ok(mode), "{text}");
    }
    for (text, message, place) in [
        ("slw", "unknown word `slw`", "slw"),
        ("{aftr: 5}", "unknown word `aftr`", "aftr"),
        ("{slow: 1}", "`slow` takes no settings", "1"),
        ("after", "`after` needs a value", "after"),
        ("window", "`window` needs a map of settings", "window"),
        ("{after: x}", "`x` is not a whole number from 0 to 4294967295", "x"),
        ("{quick: ~, slow: ~}", "a map with one key is expected", "{quick: ~, slow: ~}"),
        ("[quick]", "a list stands where a word is expected", "[quick]"),
        ("{between: [1]}", "a list of 1 stands where tuple variant Mode::Between with 2 elements is expected", "[1]"),
    ] {
        let error = read::<Mode>(text).unwrap_err();
        assert_eq!((error.message.as_str(), at(text, &error)), (message, place), "{text}");
    }
}

fn at<'t>(text: &'t str, error: &SettingsError) -> &'t str {
    assert_eq!(error.span.file, 3);
    &text[error.span.start as usize..error.span.end as usize]
}

#[test]
fn errors_point_at_the_place_and_say_what_to_do() {
    let long = format!("{{text: x, maybe: {}}}", "9".repeat(500));
    for (text, path, place, message, help) in [
        ("{txt: x}", "", "txt", "unknown setting `txt`", Some("did you mean `text`?")),
        ("{text: x, nested: {prt: 1}}", "nested", "prt", "unknown setting `prt`", Some("did you mean `port`?")),
        ("{text: x, nested: {}}", "nested", "{}", "the setting `port` is missing", Some("add `port: ..`")),
        ("{text: x, nested: 5}", "nested", "5", "`5` stands where a map of settings is expected", None),
        (
            "{text: x, nested: {port: 70000}}",
            "nested.port",
            "70000",
            "`70000` is not a whole number from 0 to 65535",
            None,
        ),
        (
            "{text: x, nested: {port: 1, hosts: [{name: a}, {nam: b}]}}",
            "nested.hosts.2",
            "nam",
            "unknown setting `nam`",
            Some("did you mean `name`?"),
        ),
        (
            "{text: x, nested: {port: 1, hosts: {}}}",
            "nested.hosts",
            "{}",
            "a map stands where a list is expected",
            None,
        ),
        ("{text: [a]}", "text", "[a]", "a list stands where a text is expected", None),
        ("{text: ~}", "text", "~", "nothing stands where a text is expected", None),
        ("{text: x, list: a}", "list", "a", "`a` stands where a list is expected", None),
        ("{text: x, list: [a, [b]]}", "list.2", "[b]", "a list stands where a text is expected", None),
        (
            "{text: x, map: {k: 1.5}}",
            "map.k",
            "1.5",
            "`1.5` is not a whole number from -9223372036854775808 to 9223372036854775807",
            None,
        ),
        ("{text: x, truth: yes}", "truth", "yes", "`yes` is neither `true` nor `false`", None),
        ("{text: x, ratio: nan}", "ratio", "nan", "`nan` is not a number", None),
        ("{text: x, letter: ab}", "letter", "ab", "`ab` is not a character", None),
        ("{text: x, pair: [1]}", "pair", "[1]", "a list of 1 stands where a list of 2 is expected", None),
        ("{text: x, range: 20:10}", "range", "20", "", None),
        ("{text: x, interval: 30}", "interval", "30", "`30` has no unit: write `30s`, `30m` or `30h`", None),
        ("{text: x, mode: slwo}", "mode", "slwo", "unknown word `slwo`", Some("did you mean `slow`?")),
        (long.as_str(), "maybe", &long[17..long.len() - 1], "", None),
    ] {
        // A colon would end the plain text of these tests.
        let text = text.replace("20:10", "\"20:10\"");
        let error = read::<Settings>(&text).unwrap_err();
        assert_eq!(error.path, path, "{text}");
        let place = if place == "20" { "\"20:10\"" } else { place };
        assert_eq!(at(&text, &error), place, "{text}");
        if message.is_empty() {
            assert!(error.message.len() < 150, "{}", error.message);
        } else {
            assert_eq!(error.message, message, "{text}");
        }
        assert_eq!(error.help.as_deref(), help, "{text}");
    }
}

#[test]
fn what_is_written_does_not_reach_the_terminal_as_it_is() {
    let text = "{text: x, maybe: \"\u{1b}[2Jx\", \"\u{1b}k\": 1}";
    for error in [read::<Settings>(text).unwrap_err(), read::<Settings>("{\"\u{1b}k\": 1}").unwrap_err()] {
        assert!(!error.message.contains('\u{1b}') && error.message.contains("\\e"), "{error:?}");
    }
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Tagged {
    Basic { user: String },
}

/// serde reads such a map to its end before it knows which settings there are.
#[test]
fn unknown_keys_are_found_where_a_key_decides_about_the_others() {
    assert_eq!(read::<Tagged>("{user: x, kind: basic}"), Ok(Tagged::Basic { user: "x".to_owned() }));
    let text = "{kind: basic, user: x, usr: y}";
    let error = read::<Tagged>(text).unwrap_err();
    assert_eq!((at(text, &error), error.help.as_deref()), ("usr", Some("did you mean `user`?")), "{error:?}");
}

#[test]
fn whole_numbers_reach_from_the_least_to_the_most() {
    fn limits<T: DeserializeOwned + PartialEq + Debug>(least: i128, most: i128, number: impl Fn(i128) -> T) {
        for good in [least, most, 0, 1] {
            assert_eq!(read::<T>(&good.to_string()), Ok(number(good)), "{good}");
            assert_eq!(read::<T>(&format!("\" {good} \"")), Ok(number(good)), "quoted {good}");
        }
        for bad in [
            (least - 1).to_string(),
            (most + 1).to_string(),
            "1.0".to_owned(),
            "x".to_owned(),
            "1e3".to_owned(),
            "[1]".to_owned(),
        ] {
            let error = read::<T>(&bad).unwrap_err();
            assert!(error.message.ends_with(&format!("is not a whole number from {least} to {most}")), "{error}");
        }
    }
    limits(0, i128::from(u8::MAX), |n| u8::try_from(n).unwrap());
    limits(0, i128::from(u16::MAX), |n| u16::try_from(n).unwrap());
    limits(0, i128::from(u32::MAX), |n| u32::try_from(n).unwrap());
    limits(0, i128::from(u64::MAX), |n| u64::try_from(n).unwrap());
    limits(i128::from(i8::MIN), i128::from(i8::MAX), |n| i8::try_from(n).unwrap());
    limits(i128::from(i16::MIN), i128::from(i16::MAX), |n| i16::try_from(n).unwrap());
    limits(i128::from(i32::MIN), i128::from(i32::MAX), |n| i32::try_from(n).unwrap());
    limits(i128::from(i64::MIN), i128::from(i64::MAX), |n| i64::try_from(n).unwrap());
    for bad in ["inf", "-inf", "NaN", "1e999", "x", "~"] {
        assert!(read::<f64>(bad).is_err() && read::<f32>(bad).is_err(), "{bad}");
    }
    assert_eq!((read::<f64>("1e3"), read::<f32>("-.5")), (Ok(1e3), Ok(-0.5)));
}

/// Where no type decides, plain text that looks like a number is one, and what only has digits in it is not.
#[test]
fn texts_that_look_like_numbers() {
    for (text, json) in [
        ("80", "80"),
        ("-3", "-3"),
        ("1.50", "1.5"),
        (".5", "0.5"),
        ("1e3", "1000.0"),
        ("18446744073709551615", "18446744073709551615"),
        ("true", "true"),
        ("[~]", "[null]"),
        ("\"80\"", "\"80\""),
        ("\"true\"", "\"true\""),
        ("007", "\"007\""),
        ("-007", "\"-007\""),
        ("+5", "\"+5\""),
        ("1.2.3", "\"1.2.3\""),
        ("1e999", "\"1e999\""),
        ("nan", "\"nan\""),
        ("-inf", "\"-inf\""),
        ("-", "\"-\""),
        ("80%", "\"80%\""),
        ("yes", "\"yes\""),
        ("0", "0"),
        ("0.5", "0.5"),
        ("{a: [1, x]}", "{\"a\":[1,\"x\"]}"),
    ] {
        assert_eq!(read::<serde_json::Value>(text).unwrap().to_string(), json, "{text}");
    }
    // A text stays as it is written.
    for text in ["007", "1.10", "+5", "true", "null", "1e3", "0x1f"] {
        assert_eq!(read::<String>(text).as_deref(), Ok(text));
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plugin {
    command: String,
    #[serde(default)]
    timeout: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Email {
    to: Vec<String>,
}

#[test]
fn a_bare_value_is_short_for_the_main_setting() {
    let plugin = |text: &str| tree(text).read::<Plugin>(Some("command"), &Loader);
    assert_eq!(plugin("check_disk -w 10").unwrap().command, "check_disk -w 10");
    assert_eq!(plugin("{command: x, timeout: 5}").unwrap().timeout, Some(5));
    assert_eq!(tree("[a, b]").read::<Email>(Some("to"), &Loader).unwrap().to, ["a", "b"]);
    let error = plugin("[a]").unwrap_err();
    assert_eq!((error.path.as_str(), at("[a]", &error)), ("command", "[a]"));
    // Nothing at all is a map without settings.
    assert_eq!(plugin("~").unwrap_err().message, "the setting `command` is missing");
    assert!(tree("x").read::<Plugin>(None, &Loader).unwrap_err().message.contains("a map of settings"));
}

#[test]
fn errors_of_kinds_find_their_place() {
    let text = "{http: {urls: [a, b], expect: {status: 900}}}";
    let node = tree(text);
    for (path, place) in [
        ("", text),
        ("http.expect.status", "900"),
        ("http.urls.2", "b"),
        ("http.urls.3", "[a, b]"),
        ("http.urls.0", "[a, b]"),
        ("http.expect.json", "{status: 900}"),
        ("other", text),
    ] {
        let error = node.error_at(path, "is wrong".to_owned());
        assert_eq!((at(text, &error), error.path.as_str()), (place, path));
    }
    assert_eq!(node.error_at("http", "is wrong".to_owned()).to_string(), "`http`: is wrong");
    assert_eq!(node.error_at("", "is wrong".to_owned()).to_string(), "is wrong");
}

#[test]
fn secrets_come_from_where_they_are_kept() {
    for (text, secret) in [
        ("hunter2", "text:hunter2"),
        ("12345", "text:12345"),
        ("{file: /run/x}", "file:/run/x"),
        ("{env: X}", "env:X"),
        ("{credential: x}", "credential:x"),
    ] {
        assert_eq!(read::<Secret>(text).unwrap().reveal(), secret);
    }
    let [some, none] = read::<[Option<Secret>; 2]>("[{env: X}, ~]").unwrap();
    assert_eq!((some.as_ref().map(Secret::reveal), none), (Some("env:X"), None));
    for (text, message, place) in [
        ("~", "a secret is a text, `{ file: .. }`, `{ env: .. }` or `{ credential: .. }`", "~"),
        ("{}", "a secret is a text, `{ file: .. }`, `{ env: .. }` or `{ credential: .. }`", "{}"),
        ("[x]", "a secret is a text, `{ file: .. }`, `{ env: .. }` or `{ credential: .. }`", "[x]"),
        (
            "{file: /a, env: B}",
            "a secret is a text, `{ file: .. }`, `{ env: .. }` or `{ credential: .. }`",
            "{file: /a, env: B}",
        ),
        ("{fiel: /a}", "unknown source of a secret `fiel`", "fiel"),
        ("{file: [a]}", "`file` names a list, not a text", "[a]"),
        ("{file: gone}", "cannot read `gone`: no such file", "{file: gone}"),
    ] {
        let error = read::<Secret>(text).unwrap_err();
        assert_eq!((error.message.as_str(), at(text, &error)), (message, place), "{text}");
    }
    assert_eq!(read::<MaybeSecret>("hello").unwrap(), MaybeSecret::Plain("hello".to_owned()));
    assert_eq!(read::<MaybeSecret>("{env: X}").unwrap(), MaybeSecret::Secret(Secret::new("env:X".to_owned())));
    let headers: BTreeMap<String, MaybeSecret> = read("{accept: text/html, token: {file: /t}}").unwrap();
    assert_eq!((headers["accept"].reveal(), headers["token"].reveal()), ("text/html", "file:/t"));
}

#[test]
fn what_was_probably_meant() {
    let settings = [
        "url",
        "expect",
        "interval",
        "timeout",
        "retries",
        "retry_interval",
        "labels",
        "depends_on",
        "to",
        "warning",
        "bad",
        "okay",
    ];
    for (written, meant) in [
        ("intervall", Some("interval")),
        ("Interval", Some("interval")),
        ("itnerval", Some("interval")),
        ("time_out", Some("timeout")),
        ("timout", Some("timeout")),
        ("time", Some("timeout")),
        ("timeout_seconds", Some("timeout")),
        ("uri", Some("url")),
        ("urls", Some("url")),
        ("dependson", Some("depends_on")),
        ("depends-on", Some("depends_on")),
        ("label", Some("labels")),
        ("retry", Some("retry_interval")),
        ("warn", Some("warning")),
        ("critical", Some("bad")),
        ("CRIT", Some("bad")),
        ("ok", Some("okay")),
        ("x", None),
        ("it", None),
        ("password", None),
        ("", None),
    ] {
        assert_eq!(nearest(written, settings), meant, "{written}");
    }
    assert_eq!(nearest("raid", ["RAID", "disk"]), Some("RAID"));
    assert_eq!(nearest(&"intervall".repeat(100), settings), None);
    assert_eq!(suggest("intervall", &settings), "did you mean `interval`?");
    assert_eq!(suggest("password", &["url", "to"]), "known are `url`, `to`");
    assert_eq!(suggest("password", &[]), "none is allowed here");
    let many: Vec<String> = (0..100).map(|n| format!("check{n}")).collect();
    assert!(suggest("zzz", &many.iter().map(String::as_str).collect::<Vec<_>>()).ends_with("`check39` and 60 more"));
}

#[test]
fn trees_that_nest_too_deep_are_refused() {
    let nested = |depth: usize| tree(&format!("{}1{}", "[".repeat(depth), "]".repeat(depth)));
    assert!(nested(60).read::<serde_json::Value>(None, &Loader).is_ok());
    let error = nested(2_000).read::<serde_json::Value>(None, &Loader).unwrap_err();
    assert_eq!(error.message, "settings nest deeper than 64 levels");
}

fn any_tree() -> impl Strategy<Value = Node> {
    let names = prop_oneof![
        prop::sample::select(vec![
            "text", "maybe", "list", "map", "nested", "port", "hosts", "name", "mode", "range", "pair", "truth",
            "ratio", "letter", "file", "env", "window", "after"
        ]),
        Just("other"),
    ];
    let span = (0..3u32, 0..9u32, 0..9u32).prop_map(|(file, start, end)| Span { file, start, end });
    let scalar = ("[-+.0-9a-z%:~\u{1b}ü ]{0,8}|slow|after|true|10GiB|5m|~|18446744073709551615", any::<bool>())
        .prop_map(|(text, quoted)| Value::Scalar { text: text.into(), quoted });
    let leaf =
        (span.clone(), prop_oneof![1 => Just(Value::Null), 6 => scalar]).prop_map(|(span, value)| Node { span, value });
    leaf.prop_recursive(5, 40, 6, move |inner| {
        let key = (span.clone(), names.clone()).prop_map(|(span, name)| Key { span, name: Box::from(name) });
        let value = prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
            prop::collection::vec((key, inner), 0..6).prop_map(Value::Map),
        ];
        (span.clone(), value).prop_map(|(span, value)| Node { span, value })
    })
}

proptest! {
    #[test]
    fn any_tree_is_read_or_refused_with_a_place_that_exists(node in any_tree(), path in "[a-z0-9.]{0,12}") {
        fn spans(node: &Node, into: &mut Vec<Span>) {
            into.push(node.span);
            match &node.value {
                Value::List(items) => items.iter().for_each(|item| spans(item, into)),
                Value::Map(entries) => entries.iter().for_each(|(key, item)| {
                    into.push(key.span);
                    spans(item, into);
                }),
                Value::Null | Value::Scalar { .. } => {}
            }
        }
        let mut known = Vec::new();
        spans(&node, &mut known);
        let errors = [
            node.read::<Settings>(Some("text"), &Loader).err(),
            node.read::<Nested>(None, &Loader).err(),
            node.read::<Mode>(None, &Loader).err(),
            node.read::<Secret>(None, &Loader).err(),
            node.read::<MaybeSecret>(None, &Loader).err(),
            node.read::<BTreeMap<String, serde_json::Value>>(None, &Loader).err(),
            Some(node.error_at(&path, String::new())),
        ];
        for error in errors.into_iter().flatten() {
            prop_assert!(known.contains(&error.span), "{:?}", error);
            prop_assert!(!error.message.contains('\u{1b}'), "{:?}", error);
        }
    }
}
