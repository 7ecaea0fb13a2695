use proptest::prelude::*;

use super::*;

fn event() -> Event {
    let mut event = sample(&["unit".to_owned()]);
    event.message = "it's $(broken)".to_owned();
    event.output = "one\ntwo".to_owned();
    event.attempt = 2;
    event
}

fn referenced(source: &str) -> Referenced {
    let template = Template::references(&parse(source).unwrap()).unwrap_or_else(|error| panic!("{source}: {error}"));
    template.render_referenced(&event()).unwrap_or_else(|error| panic!("{source}: {error}"))
}

#[test]
fn messages_hold_values() {
    for (source, expected) in [
        ("{{ check.name }} on {{ host }}: {{ message }}", "check on host: it's $(broken)"),
        (
            "{% for m in metrics %}{{ m.label }}={{ m.value }}{{ m.unit }} {{ m.state }};{% endfor %}",
            "time=1s warning;size=3B okay;",
        ),
        ("{{ output | split(pat=\"\n\") | first | upper }}", "ONE"),
        ("{% if attempt > 1 and state == \"bad\" %}again{% else %}first{% endif %}", "again"),
        ("{{ labels.unit }}/{{ labels.none | default(value=\"nothing\") }}", "label/nothing"),
        ("{{ attempt * 2 + 1 }} {{ \"a\" ~ attempt }}", "5 a2"),
        ("{{ message | replace(from=\"broken\", to=\"ok\") }}", "it's $(ok)"),
        ("{{ now }} {{ incident.id | length }} {{ drill }}", "1970-01-01T00:00:00Z 14 true"),
        ("{% raw %}{{ x }}{% endraw %}${#x}", "{{ x }}${#x}"),
        ("<b>{{ message }}</b>", "<b>it's $(broken)</b>"),
    ] {
        let template = Template::plain(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(template.render(&event()).as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn scripts_hold_references_whatever_the_value_is_made_of() {
    for (source, text, values) in [
        ("{{ message }}", "${M_0}", vec!["it's $(broken)"]),
        ("{{ message }}{{ message }}{{ host }}", "${M_0}${M_0}${M_1}", vec!["it's $(broken)", "host"]),
        ("{{ attempt }}", "${M_0}", vec!["2"]),
        ("{{ drill }}", "${M_0}", vec!["true"]),
        ("{{ \"literal `x`\" }}", "${M_0}", vec!["literal `x`"]),
        ("{{ \"a\" ~ message | upper }}", "${M_0}", vec!["aIT'S $(BROKEN)"]),
        ("{{ message if drill else host }}", "${M_0}", vec!["it's $(broken)"]),
        ("{{ message == host }}", "${M_0}", vec!["false"]),
        ("{% for m in metrics %}{{ m.label | upper }},{% endfor %}", "${M_0},${M_1},", vec!["TIME", "SIZE"]),
        ("{% for c in message | truncate(length=2, end=\"\") %}{{ c }}{% endfor %}", "${M_0}${M_1}", vec!["i", "t"]),
        ("{{ labels }}", "${M_0}", vec!["{\"unit\": \"label\"}"]),
        ("{{ message | replace(from=\"i\", to=\"${M_9}\") }}", "${M_0}", vec!["${M_9}t's $(broken)"]),
    ] {
        let rendered = referenced(source);
        assert_eq!(rendered.text, text, "{source}");
        assert_eq!(rendered.values, values, "{source}");
    }
}

#[test]
fn a_missing_label_is_named() {
    let template = Template::plain("{{ labels.unit }}").unwrap();
    let mut event = event();
    event.labels.clear();
    let error = template.render(&event).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the check `check` has no label `unit`, which the template names: give it one (`labels: { unit: .. }`)"
    );
    for source in
        ["{{ labels.unit | upper }}", "{{ \"x\" ~ labels.unit }}", "{{ check.labels.unit }}", "{{ labels[\"unit\"] }}"]
    {
        let outcome = Template::plain(source).unwrap().render(&event);
        assert!(matches!(outcome, Err(RenderError::MissingLabel { .. })), "{source}: {outcome:?}");
    }
    let optional = Template::plain("{% if labels.unit %}x{% endif %}{{ labels.unit | default(value=\"-\") }}").unwrap();
    assert_eq!(optional.render(&event).as_deref(), Ok("-"));
    assert!(optional.needed_labels().is_empty());
}

#[test]
fn without_an_incident_its_parts_are_empty() {
    let mut event = event();
    event.incident = None;
    let template = Template::plain("[{{ incident.id }}{{ incident.since }}{{ incident.duration }}]").unwrap();
    assert_eq!(template.render(&event).as_deref(), Ok("[]"));
}

#[test]
fn errors_name_the_line_and_what_is_wrong() {
    for (source, line, word) in [
        ("a\n{{ hots }}", 2, "did you mean `host`"),
        ("a\n\n{{- message |  -}}\n", 3, "expected identifier"),
        ("a\n {%- if message -%}\n{{ message message }}{% endif %}", 3, "found identifier"),
        ("{{ loop.first }}", 1, "unknown name"),
        ("\n{% for m in metrics %}{{ loop.nope }}{% endfor %}", 2, "invalid field"),
        ("{{ message is nonsense }}", 1, "unknown test"),
        ("{{ message | round }}", 1, "invalid type"),
        ("x\u{1}", 1, "control character"),
        ("{% for m in state %}{{ m.label }}{% endfor %}", 1, "does not exist"),
    ] {
        let error = Template::plain(source).expect_err(source);
        assert!(error.line == line && error.message.to_lowercase().contains(word), "{source}: {error}");
    }
    let long = "x".repeat(MAX_TEMPLATE + 1);
    assert!(Template::plain(&long).unwrap_err().message.contains("at most"));
}

#[test]
fn sizes_are_bounded() {
    let mut event = event();
    event.output = "a".repeat(200 * 1024);
    let shown = Template::plain("{{ output }}").unwrap().render(&event).unwrap();
    assert!(shown.len() <= MAX_VALUE && shown.ends_with("bytes cut)"), "{}", shown.len());
    let much = Template::plain("{% for c in output %}{{ output }}{% endfor %}").unwrap().render(&event).unwrap_err();
    assert!(much.to_string().contains("256 KiB"), "{much}");
    let grown = Template::plain("{{ output | replace(from=\"a\", to=output) }}").unwrap().render(&event).unwrap_err();
    assert!(grown.to_string().contains("replace"), "{grown}");
    event.output = (0..5_000).map(|i| i.to_string()).collect::<Vec<_>>().join("\n");
    let many =
        Template::references(&parse("{% for l in output | split(pat=\"\n\") %}{{ l }}{% endfor %}").unwrap()).unwrap();
    assert!(many.render_referenced(&event).unwrap_err().to_string().contains("4096 values"));
}

#[test]
fn nul_is_removed() {
    let mut event = event();
    event.message = "a\0b".to_owned();
    assert_eq!(Template::plain("{{ message }}").unwrap().render(&event).as_deref(), Ok("ab"));
}

proptest! {
    /// The text around values stays byte for byte, and no byte of a value gets into it.
    #[test]
    fn the_text_of_a_script_never_depends_on_the_values(value in ".{0,60}", text in "[^{\u{0}-\u{8}\u{b}\u{c}\u{e}-\u{1f}\u{7f}-\u{9f}]{0,40}") {
        let source = format!("{text}{{{{ message }}}}{text}{{% for m in metrics %}}{{{{ m.label ~ message }}}}{{% endfor %}}");
        let template = Template::references(&parse(&source).unwrap()).unwrap();
        let mut event = event();
        event.message = value.clone();
        let rendered = template.render_referenced(&event).unwrap();
        prop_assert_eq!(rendered.text, format!("{text}${{M_0}}{text}${{M_1}}${{M_2}}"));
        prop_assert_eq!(&rendered.values[0], &without_nul(&value));
    }

    #[test]
    fn any_template_gives_an_answer(parts in proptest::collection::vec("(\\{\\{|\\}\\}|\\{%|%\\}|\\{#|#\\}|message|labels|\\.|\\||safe|upper|for|in|if|endif|endfor|metrics|\"|'|\\(|\\)|~|-| |\n|1)", 0..30)) {
        let source = parts.concat();
        if let Ok(template) = Template::plain(&source) {
            let _ = template.render(&event());
        }
    }
}
