//! Promise 5: bytes from outside never become code. Payloads go through every channel into real shells; each would leave a file behind.

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Real, context, event, script, wait};
use jiff::tz::TimeZone;
use monchero_core::action::Event;
use monchero_core::{Metric, Name};
use proptest::prelude::*;
use serde_json::json;

/// What shells, `test`, `printf`, here-documents, arithmetic and option parsers have been seen to take for more than text. `CANARY` is the
/// path of a file that must never come to be.
const PAYLOADS: [&str; 52] = [
    "$(touch CANARY)",
    "`touch CANARY`",
    "; touch CANARY",
    "| touch CANARY",
    "|| touch CANARY",
    "&& touch CANARY",
    "& touch CANARY &",
    "\ntouch CANARY\n",
    "\r\ntouch CANARY\r\n",
    "\"; touch CANARY; \"",
    "'; touch CANARY; '",
    "\"'; touch CANARY; '\"",
    "\\\"; touch CANARY; \\\"",
    "\\'; touch CANARY; \\'",
    "\\",
    "\\\\",
    "\"",
    "'",
    "`",
    "$",
    "${",
    "$(",
    "$((",
    "${x:=$(touch CANARY)}",
    "${IFS}touch${IFS}CANARY",
    "$((a[$(touch CANARY)]))",
    "a[$(touch CANARY)]",
    "x=a[$(touch CANARY)]",
    "<(touch CANARY)",
    ">(touch CANARY)",
    "> CANARY",
    ">> CANARY",
    ">&CANARY",
    "<<<$(touch CANARY)",
    "EOF\ntouch CANARY\n",
    "\nEOF\ntouch CANARY\ncat <<EOF\n",
    "() { :;}; touch CANARY",
    "{touch,CANARY}",
    "!touch CANARY",
    "* ? [a-z] ~ ~root",
    "#",
    "\t# \n",
    "%s %n %x %%",
    "{{ message }} {% if true %}x{% endif %} {# c #}",
    "${M_0} $M_1 ${M_TEXT} $MONCHERO_OUTPUT",
    "$USER1$ ${env:HOME} $HOME",
    "%0atouch CANARY%0a &#10; \\ntouch CANARY\\n \\x0atouch CANARY",
    "\u{2018}; touch CANARY; \u{2019} \u{201c}$(touch CANARY)\u{201d} \u{ff1b}touch CANARY",
    "\u{1b}]0;touch CANARY\u{7}\u{9b}2J\u{202e}",
    "--help",
    "-oProxyCommand=touch CANARY",
    "-e exec=touch\u{a0}CANARY",
];

/// What stands around a payload: a place from which it would have to break out.
const AROUND: [(&str, &str); 9] = [
    ("", ""),
    ("a ", " b"),
    ("\"", "\""),
    ("'", "'"),
    ("\\", ""),
    ("$", ""),
    ("\n", "\n"),
    ("it's ", ""),
    ("\"$(", ")\""),
];

/// A script in which values stand in every place that the guard allows. Each value is printed with a NUL behind it.
const SCRIPT: &str = r#"
p() { for v in "$@"; do printf '%s\0' "$v"; done; }
p {{ message }} "{{ output }}" {{ host }}
p "{{ check.name }}" {{ labels.unit }} {{ check.labels["unit"] }}
x={{ message }} y="{{ output }}"; p "$x" "$y"
p "$(printf '%s.' {{ message }})" "$(printf '%s.' "{{ message }}")"
if [ {{ message }} = "{{ message }}" ]; then p same; fi
case {{ message }} in "{{ message }}") p case ;; esac
# a comment with {{ output }} in it
for v in {{ message }} {{ host }}; do p "$v"; done
{% for m in metrics %}p {{ m.label }} "<{{ m.label }}>"
{% endfor %}
{% for name, value in labels %}p {{ name }} {{ value }}
{% endfor %}
{% if message %}p {{ message | upper }}{% else %}p {{ host }}{% endif %}
p {{ "a" ~ message ~ "b" }} {{ reason | trim }} {{ message | replace(from="touch", to="TOUCH") }}
p {{ output | split(pat="\n") | first }}
cat <<EOF
{{ output }}
EOF
printf '\0'
cat <<-EOF2
	<{{ message }}>
	EOF2
printf '\0'
"#;

/// What that script must print.
fn expected(event: &Event) -> Vec<String> {
    let (message, output, host) = (event.message.as_str(), event.output.as_str(), event.host.as_str());
    let name = event.check.name.as_str();
    let unit = event.labels["unit"].as_str();
    let mut values: Vec<String> =
        vec![message, output, host, name, unit, unit, message, output].into_iter().map(str::to_owned).collect();
    values.extend([
        format!("{message}."),
        format!("{message}."),
        "same".to_owned(),
        "case".to_owned(),
        message.to_owned(),
        host.to_owned(),
    ]);
    for metric in &event.metrics {
        values.extend([metric.label.to_string(), format!("<{}>", metric.label)]);
    }
    for (name, value) in &event.labels {
        values.extend([name.clone(), value.clone()]);
    }
    values.push(if message.is_empty() { host.to_owned() } else { message.to_uppercase() });
    values.extend([format!("a{message}b"), event.reason.trim().to_owned(), message.replace("touch", "TOUCH")]);
    values.push(output.split('\n').next().unwrap_or_default().to_owned());
    values.extend([format!("{output}\n"), format!("<{message}>\n")]);
    values
}

/// An event that has the payload everywhere.
fn poisoned(payload: &str) -> Event {
    let mut event = event();
    payload.clone_into(&mut event.message);
    event.output = format!("{payload}\nand\n{payload}");
    payload.clone_into(&mut event.host);
    payload.clone_into(&mut event.reason);
    event.check.name = Name::new(payload);
    event.labels.insert("unit".to_owned(), payload.to_owned());
    event.check.labels.clone_from(&event.labels);
    event.metrics = vec![Metric::new(payload, 1.0, monchero_core::quantity::Unit::new("B"))];
    event
}

fn run(text: &str, event: &Event, directory: &Path) -> Vec<u8> {
    let real = Real::default();
    let action = script(&json!({ "run": text, "directory": directory }));
    let outcome =
        wait(action.run(event, Duration::from_secs(30), &context(&real, &TimeZone::UTC))).expect("the script runs");
    assert!(outcome.success, "{} {}", outcome.message, outcome.output);
    real.stdout()
}

fn assert_inert(shell: &str, event: &Event, directory: &Path) {
    let printed = run(&format!("#!{shell}\n{SCRIPT}"), event, directory);
    let expected: Vec<u8> = expected(event).iter().flat_map(|value| value.bytes().chain([0])).collect();
    assert_eq!(
        String::from_utf8_lossy(&printed).split('\0').collect::<Vec<_>>(),
        String::from_utf8_lossy(&expected).split('\0').collect::<Vec<_>>(),
        "{shell} {:?}",
        event.message
    );
    assert_eq!(printed, expected);
    let left: Vec<_> = std::fs::read_dir(directory).expect("the directory").collect();
    assert!(left.is_empty(), "{:?} left {left:?}", event.message);
}

fn all_payloads(directory: &Path) -> Vec<String> {
    let canary = directory.join("canary").display().to_string();
    AROUND
        .iter()
        .flat_map(|(before, after)| PAYLOADS.iter().map(move |payload| format!("{before}{payload}{after}")))
        .map(|payload| payload.replace("CANARY", &canary))
        .collect()
}

fn no_payload_runs_in(shell: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let payloads = all_payloads(directory.path());
    assert!(payloads.len() >= 400, "{}", payloads.len());
    for payload in payloads {
        assert_inert(shell, &poisoned(&payload), directory.path());
    }
}

#[test]
fn no_payload_runs_in_sh_and_all_arrive_verbatim() {
    no_payload_runs_in("/bin/sh");
}

#[test]
fn no_payload_runs_in_bash_and_all_arrive_verbatim() {
    no_payload_runs_in("/bin/bash");
}

/// The canary works: the same payload, given to a shell as text, does leave a file behind.
#[test]
fn the_canary_would_sing() {
    let directory = tempfile::tempdir().expect("a directory");
    let canary = directory.path().join("canary");
    run(&format!("echo $(touch {})", canary.display()), &event(), directory.path());
    assert!(canary.exists());
}

#[test]
fn payloads_arrive_verbatim_in_arguments_environment_and_input() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a directory");
    let work = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("show");
    let text = "#!/bin/sh\nprintf '%s\\0' \"$@\" \"$MONCHERO_MESSAGE\" \"$MONCHERO_OUTPUT\" \"$MONCHERO_HOST\" \"$MONCHERO_CHECK\" \"$MONCHERO_LABEL_UNIT\"\ncat\n";
    std::fs::write(&program, text).expect("a program");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let action = script(&json!({
        "run": [program, "--message={{ message }}", "-n={{ labels.unit }}", "--", "{{ output }}", "x{{ host }}"],
        "directory": work.path(),
    }));
    for payload in all_payloads(work.path()) {
        let event = poisoned(&payload);
        let real = Real::default();
        let outcome = wait(action.run(&event, Duration::from_secs(30), &context(&real, &TimeZone::UTC)))
            .expect("the program runs");
        assert!(outcome.success, "{outcome:?}");
        let stdout = real.stdout();
        let parts: Vec<String> =
            stdout.splitn(11, |byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
        let (message, option, tail) = (format!("--message={payload}"), format!("-n={payload}"), format!("x{payload}"));
        let expected =
            [&message, &option, "--", &event.output, &tail, &payload, &event.output, &payload, &payload, &payload];
        assert_eq!(parts[..10], expected);
        let document: Event = serde_json::from_str(&parts[10]).expect("the event");
        assert_eq!(document, event);
        assert!(std::fs::read_dir(work.path()).expect("the directory").next().is_none(), "{payload:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn whatever_the_value_is_it_arrives_verbatim(
        value in proptest::collection::vec("([ -~]|[\n\t\r'\"`$\\\\;&|<>(){}\\[\\]*?~#!%=-]|\\$\\(|touch canary|[\u{80}-\u{10fff}])", 0..24)
    ) {
        let directory = tempfile::tempdir().expect("a directory");
        let event = poisoned(&value.concat().replace('\0', ""));
        assert_inert("/bin/sh", &event, directory.path());
        assert_inert("/bin/bash", &event, directory.path());
    }
}
