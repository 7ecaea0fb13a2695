//! The kind `script`, with programs that are really run.

mod common;

use std::time::Duration;

use common::{Real, Scripted, context, ended, event, node, refusal, script, variable, wait};
use jiff::tz::TimeZone;
use monchero_core::action::{ActionError, ActionOutcome, Event};
use monchero_core::program::{Exit, RunEnd};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(30);

fn run_with(settings: &Value, event: &Event, real: &Real) -> Result<ActionOutcome, ActionError> {
    wait(script(settings).run(event, TIMEOUT, &context(real, &TimeZone::UTC)))
}

fn run(settings: &Value) -> ActionOutcome {
    run_with(settings, &event(), &Real::default()).expect("the script runs")
}

#[test]
fn the_example_works() {
    // What the reference shows, as a list.
    let action = script(&json!(["systemctl", "restart", "--", "{{ labels.unit }}"]));
    assert_eq!(action.needed_labels(), ["unit"]);
    let real = Scripted { end: ended(Exit::Status(0), "", "") };
    assert!(wait(action.run(&event(), TIMEOUT, &context(&real, &TimeZone::UTC))).unwrap().success);
    let kind = monchero_actions::KINDS.iter().find(|kind| kind.name == "script").unwrap();
    assert_eq!((kind.tells, kind.short_for), (false, Some("run")));
}

#[test]
fn a_text_runs_in_the_shell_that_it_names() {
    let outcome = run(&json!("echo \"$MONCHERO_CHECK is $MONCHERO_STATE: {{ message }}\"\n"));
    assert_eq!(
        outcome,
        ActionOutcome {
            success: true,
            message: "exit status 0".to_owned(),
            output: "shop is bad: 503 Service Unavailable\n".to_owned()
        }
    );
    let outcome = run(&json!("#!/bin/bash -eu\nx=(a b); echo \"${#x[@]} {{ attempt }}\"\nfalse\necho never\n"));
    assert_eq!((outcome.success, outcome.message.as_str(), outcome.output.as_str()), (false, "exit status 1", "2 3\n"));
    let outcome = run(&json!("#!/usr/bin/env bash\necho $BASH_VERSION | grep -c . ; echo {{ host }} >&2; exit 3"));
    assert_eq!((outcome.message.as_str(), outcome.output.as_str()), ("exit status 3", "1\nweb1\n"));
    let outcome = run(&json!("kill -9 $$"));
    assert_eq!((outcome.success, outcome.message.as_str()), (false, "ended by signal 9"));
}

#[test]
fn other_interpreters_read_the_environment_and_the_document() {
    let python = "#!/usr/bin/env python3\nimport json, os, sys\nevent = json.load(sys.stdin)\nprint(event['check']['name'], os.environ['MONCHERO_ATTEMPT'], event['metrics'][0]['value'])\n";
    assert_eq!(run(&json!(python)).output, "shop 3 740.0\n");
    let perl = "#!/usr/bin/perl -w\nprint \"$ENV{MONCHERO_LABEL_UNIT} \", __LINE__, \"\\n\";\n";
    assert_eq!(run(&json!(perl)).output, "nginx.service 2\n");
}

#[test]
fn the_text_of_a_script_shows_in_no_list_of_processes_and_not_in_its_own_environment() {
    let outcome = run(&json!(
        "# token-4711\ntr '\\0' ' ' < /proc/$$/cmdline; echo; env | grep -c 4711 || true; echo \"<${M_TEXT-gone}>\""
    ));
    assert_eq!(outcome.output, "/bin/sh -c eval \"unset M_TEXT; $M_TEXT\" monchero-action \n0\n<gone>\n");
}

#[test]
fn numbers_of_lines_in_messages_are_those_of_the_text() {
    let outcome = run(&json!("#!/bin/bash\n: {{ host }}\necho $LINENO\n"));
    assert_eq!(outcome.output, "3\n");
}

#[test]
fn the_environment_and_the_input_hold_the_event() {
    let real = Real::default();
    run_with(&json!({ "run": "cat", "env": { "LEVEL": "5" }, "secrets": { "TOKEN": "s3cret" } }), &event(), &real)
        .unwrap();
    let program = real.program();
    for (name, value) in [
        ("MONCHERO_HOST", "web1"),
        ("MONCHERO_CHECK", "shop"),
        ("MONCHERO_KIND", "http"),
        ("MONCHERO_STATE", "bad"),
        ("MONCHERO_PREVIOUS_STATE", "okay"),
        ("MONCHERO_STATE_TYPE", "hard"),
        ("MONCHERO_ATTEMPT", "3"),
        ("MONCHERO_MAX_ATTEMPTS", "3"),
        ("MONCHERO_MESSAGE", "503 Service Unavailable"),
        ("MONCHERO_OUTPUT", "upstream: timed out\ntried 3 times"),
        ("MONCHERO_INCIDENT_SINCE", "2025-11-21T04:42:07Z"),
        ("MONCHERO_INCIDENT_DURATION", "12m 5s"),
        ("MONCHERO_REASON", "hard problem"),
        ("MONCHERO_NOW", "2025-11-21T04:54:12Z"),
        ("MONCHERO_DRILL", "false"),
        ("MONCHERO_LABEL_TEAM", "web"),
        ("MONCHERO_LABEL_UNIT", "nginx.service"),
        ("LEVEL", "5"),
        ("TOKEN", "s3cret"),
    ] {
        assert_eq!(variable(&program, name).as_deref(), Some(value.as_ref()), "{name}");
    }
    assert_eq!(serde_json::from_slice::<Event>(&real.stdout()).unwrap(), event());
}

#[test]
fn settings_reach_the_program() {
    let real = Real::default();
    let settings = json!({ "run": "pwd", "directory": "/usr", "run_as": "nobody", "max_output": "4KiB", "allow_background": "true" });
    assert_eq!(run_with(&settings, &event(), &real).unwrap().output, "/usr\n");
    let program = real.program();
    assert_eq!(
        (program.run_as.as_deref(), program.max_output, program.allow_background, program.timeout),
        (Some("nobody"), 4096, true, TIMEOUT)
    );
}

#[test]
fn long_values_fit_the_environment() {
    let mut long = event();
    long.output = "ü€".repeat(20_000);
    let real = Real::default();
    let settings = json!(
        "printf '%s' {{ output }} | wc -c; printf '%s' \"$MONCHERO_OUTPUT\" | wc -c; printf '%s|%s' {{ check.name }} {{ state }}; wc -c >&2"
    );
    let outcome = run_with(&settings, &long, &real).unwrap();
    assert!(outcome.success, "{outcome:?}");
    let numbers: Vec<usize> =
        outcome.output.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    assert!(numbers[0] <= 32 * 1024 && numbers[0] > 32_000 && numbers[1] == numbers[0], "{numbers:?}");
    assert!(numbers[2] >= 100_000, "the whole of it stands on standard input: {numbers:?}");
    assert!(outcome.output.contains("shop|bad"));
}

#[test]
fn a_check_without_the_label_does_not_run_the_script() {
    let mut bare = event();
    bare.labels.clear();
    let real = Real::default();
    for settings in [json!("logger -- {{ labels.unit }}"), json!(["/bin/echo", "--", "{{ labels.unit }}"])] {
        let error = run_with(&settings, &bare, &real).unwrap_err();
        assert!(error.0.contains("has no label `unit`"), "{error}");
    }
    assert!(real.last.lock().unwrap().is_none(), "nothing was run");
    let outcome = run_with(&json!("echo {{ labels.unit | default(value=\"nginx\") }}"), &bare, &real).unwrap();
    assert_eq!(outcome.output, "nginx\n");
}

#[test]
fn a_soft_problem_has_no_incident_yet() {
    let mut soft = event();
    soft.incident = None;
    let outcome =
        run_with(&json!("echo \"<{{ incident.id }}> <$MONCHERO_INCIDENT>\""), &soft, &Real::default()).unwrap();
    assert_eq!(outcome.output, "<> <>\n");
}

#[test]
fn every_end_has_its_words() {
    let outcome = |end: RunEnd| {
        let spawner = Scripted { end };
        wait(script(&json!("true")).run(&event(), TIMEOUT, &context(&spawner, &TimeZone::UTC))).unwrap()
    };
    assert_eq!(
        outcome(ended(Exit::TimedOut, "half", "")),
        ActionOutcome { success: false, message: "timed out after 30s".to_owned(), output: "half".to_owned() }
    );
    assert!(outcome(ended(Exit::TooMuchOutput, "", "")).message.contains("too much output"));
    assert!(outcome(ended(Exit::Stuck { pid: 7 }, "", "")).message.contains("process 7"));
    let cut = outcome(RunEnd { truncated: true, leftovers: 2, ..ended(Exit::Status(0), "a\u{1b}[2J", "b") });
    assert_eq!(cut.message, "exit status 0; 2 processes that it left behind were ended");
    assert_eq!(cut.output, "a\u{fffd}[2J\nb\n… (the rest was cut)");
}

#[test]
fn a_program_that_is_not_there_is_an_error_with_its_name() {
    let error = run_with(&json!(["/nonexistent/program"]), &event(), &Real::default()).unwrap_err();
    assert!(error.0.contains("/nonexistent/program"), "{error}");
}

#[test]
fn what_cannot_be_run_safely_is_refused_at_load() {
    for (settings, words) in [
        (json!(""), vec!["empty"]),
        (json!([]), vec!["no program"]),
        (json!(["./echo", "x"]), vec!["neither a whole path"]),
        (json!("echo '{{ message }}'"), vec!["line 1", "single quotes", "$MONCHERO_MESSAGE"]),
        (json!("#!/bin/sh\necho {{ mesage }}"), vec!["line 2", "did you mean `message`"]),
        (json!("echo {{ message | safe }}"), vec!["no filter is needed"]),
        (json!("{% set x %}{{ message }}{% endset %}echo {{ x }}"), vec!["unknown statement `set`"]),
        (json!("{% include \"/etc/passwd\" %}"), vec!["unknown statement `include`"]),
        (json!("sh -c \"{{ message }}\""), vec!["as code"]),
        (json!("#!/usr/bin/python3\nprint('{{ message }}')"), vec!["MONCHERO_MESSAGE", "raw"]),
        (json!("#!/usr/bin/zsh\nprint {{ message }}"), vec!["`zsh`"]),
        (json!("#!/usr/bin/tclsh\nputs 1"), vec!["as a list"]),
        (json!(["/bin/{{ host }}"]), vec!["must not depend on the event"]),
        (json!(["/bin/echo", "{{ message }}"]), vec!["argument 1", "behind `--`"]),
        (json!(["/bin/echo", "-x{{ message }}"]), vec!["behind `--`"]),
        (json!(["/bin/echo", "{{ message }}", "--"]), vec!["argument 1"]),
        (json!(["/bin/echo", "{{ host }}=x"]), vec!["argument 1"]),
        (json!(["/bin/echo", "{% if drill %}--x={% endif %}{{ host }}"]), vec!["argument 1"]),
        (json!(["/bin/sh", "-c", "echo {{ message }}"]), vec!["`/bin/sh` runs its arguments as code"]),
        (json!(["/bin/sh", "-c", "--", "echo {{ message }}"]), vec!["as code"]),
        (json!(["/usr/bin/sudo", "bash", "-c", "--", "{{ message }}"]), vec!["`bash` runs"]),
        (json!(["/usr/bin/ssh", "host", "--", "{{ message }}"]), vec!["as code"]),
        (json!(["/usr/bin/awk", "--", "{{ message }}"]), vec!["for its program"]),
        (json!(["/bin/echo", "--", "{{ nonsense }}"]), vec!["unknown name `nonsense`"]),
        (json!({ "run": "true", "directory": "tmp" }), vec!["`directory`", "no absolute path"]),
        (json!({ "run": "true", "env": { "A B": "x" } }), vec!["`env`", "no name of a variable"]),
        (json!({ "run": "true", "env": { "MONCHERO_X": "x" } }), vec!["set by monchero itself"]),
        (json!({ "run": "true", "env": { "M_1": "x" } }), vec!["set by monchero itself"]),
        (json!({ "run": "true", "env": { "A": "x" }, "secrets": { "A": "y" } }), vec!["stands in `env` too"]),
        (json!({ "run": "true", "max_output": "1GiB" }), vec!["`max_output`", "not between"]),
        (json!({ "run": "true", "max_output": "5s" }), vec!["not a size"]),
        (json!({ "run": "true", "kill_grace": "2m" }), vec!["`kill_grace`", "longer than 1m"]),
        (json!({ "run": "true", "insecure_permissions": "yes" }), vec!["unknown word `yes`"]),
        (json!({ "run": "true", "nonsense": "5s" }), vec!["unknown setting `nonsense`"]),
        (json!({ "run": { "a": "b" } }), vec!["the text of a script"]),
    ] {
        let refused = refusal("script", &settings);
        for word in words {
            assert!(refused.contains(word), "{settings}: {refused}");
        }
    }
}

#[test]
fn text_that_only_looks_like_a_template_is_taken_as_it_is() {
    let outcome = run(&json!("{% raw %}echo '{{ .State }}' '{%s}'{% endraw %}; x=abc; echo ${#x} {{ host }}"));
    assert_eq!(outcome.output, "{{ .State }} {%s}\n3 web1\n");
    let python = "#!/usr/bin/python3\n{% raw %}print('{{%d}}' % 3){% endraw %}\n";
    assert_eq!(run(&json!(python)).output, "{{3}}\n");
}

#[test]
fn secrets_do_not_show_in_what_is_printed_of_settings() {
    let action = common::action("script", &json!({ "run": "true", "secrets": { "TOKEN": "s3cret" } })).unwrap();
    assert!(!format!("{action:?}").contains("s3cret"));
    assert_eq!(node(&json!({ "a": 1 })).entries().len(), 1);
}

mod shipped {
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    use super::*;

    fn path(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
    }

    /// A `systemctl` and a `journalctl` that write down how they were called.
    fn fake(directory: &Path, active: bool) {
        for (name, ends) in [
            ("systemctl", if active { "true" } else { "[ \"$1\" != is-active ]" }),
            ("journalctl", "echo the end of the journal"),
        ] {
            let text = format!("#!/bin/sh\necho \"{name} $*\" >> {}/calls\n{ends}\n", directory.display());
            std::fs::write(directory.join(name), text).unwrap();
            std::fs::set_permissions(directory.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn restart(event: &Event, active: bool) -> (ActionOutcome, String) {
        let directory = tempfile::tempdir().unwrap();
        fake(directory.path(), active);
        let search = format!("{}:/usr/bin:/bin", directory.path().display());
        let outcome =
            run_with(&json!({ "run": [path("restart-unit")], "env": { "PATH": search } }), event, &Real::default())
                .unwrap();
        (outcome, std::fs::read_to_string(directory.path().join("calls")).unwrap_or_default())
    }

    #[test]
    fn restart_unit_restarts_the_unit_of_the_label() {
        let (outcome, calls) = restart(&event(), true);
        assert_eq!((outcome.success, outcome.output.as_str()), (true, "restarted nginx.service\n"));
        assert_eq!(
            calls,
            "systemctl reset-failed -- nginx.service\nsystemctl restart -- nginx.service\nsystemctl is-active --quiet -- nginx.service\n"
        );
    }

    #[test]
    fn restart_unit_says_why_it_could_not() {
        let (outcome, _) = restart(&event(), false);
        assert!(
            !outcome.success && outcome.output.contains("not active") && outcome.output.contains("end of the journal"),
            "{outcome:?}"
        );
        let mut bare = event();
        bare.labels.clear();
        let (outcome, calls) = restart(&bare, true);
        assert_eq!((outcome.message.as_str(), calls.as_str()), ("exit status 64", ""));
        assert!(outcome.output.contains("has no label `unit`"));
    }

    #[test]
    fn restart_unit_does_nothing_in_a_drill_and_takes_no_label_for_an_option() {
        let mut drill = event();
        drill.drill = true;
        let (outcome, calls) = restart(&drill, true);
        assert_eq!((outcome.output.as_str(), calls.as_str()), ("a drill: would restart nginx.service\n", ""));
        let mut option = event();
        option.labels.insert("unit".to_owned(), "--no-block".to_owned());
        let (_, calls) = restart(&option, true);
        assert!(calls.lines().all(|call| call.contains("-- --no-block")), "{calls}");
    }

    #[test]
    fn snapshot_shows_what_the_host_is_busy_with() {
        let outcome = run(&json!([path("snapshot")]));
        assert!(outcome.success, "{outcome:?}");
        for part in
            ["shop on web1 is bad (hard problem): 503", "== load", "MemAvailable:", "== file systems", "PID", "COMMAND"]
        {
            assert!(outcome.output.contains(part), "{part}: {}", outcome.output);
        }
    }
}
