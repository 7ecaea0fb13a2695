use super::*;
use crate::template::parse;

/// The script as it will be rendered, with `<x>` where the reference to a value stands.
fn quoted(script: &str) -> Result<String, TemplateError> {
    let segments = quote(parse(script).unwrap_or_else(|error| panic!("{script}: {error}")))?;
    Ok(segments
        .iter()
        .map(|segment| match &segment.part {
            Part::Text(text) => text.clone(),
            Part::Value(tag) => format!("<{}>", tag.text.trim()),
            Part::Statement(..) => String::new(),
        })
        .collect())
}

#[test]
fn bare_values_are_put_into_quotes_and_quoted_ones_are_left_alone() {
    for (script, expected) in [
        ("logger -- {{ message }}", "logger -- \"<message>\""),
        ("logger \"{{ message }}\"", "logger \"<message>\""),
        ("logger \"a {{ host }} b\" {{ state }}", "logger \"a <host> b\" \"<state>\""),
        ("x={{ output }}; y=\"{{ output }}\"", "x=\"<output>\"; y=\"<output>\""),
        ("export NAME={{ host }}", "export NAME=\"<host>\""),
        ("echo 'it''s' {{ host }}", "echo 'it''s' \"<host>\""),
        ("echo \"$(basename {{ host }})\"", "echo \"$(basename \"<host>\")\""),
        ("echo $(basename \"{{ host }}\")", "echo $(basename \"<host>\")"),
        (
            "cat <<EOF\n{{ output }} 'x' \"y\n{{ host }}\nEOF\necho {{ host }}",
            "cat <<EOF\n<output> 'x' \"y\n<host>\nEOF\necho \"<host>\"",
        ),
        (
            "cat <<-EOF > /tmp/x\n\t{{ output }}\n\tEOF\necho {{ host }}",
            "cat <<-EOF > /tmp/x\n\t<output>\n\tEOF\necho \"<host>\"",
        ),
        (
            "cat <<A <<B\n{{ host }}\nA\n{{ state }}\nB\necho {{ host }}",
            "cat <<A <<B\n<host>\nA\n<state>\nB\necho \"<host>\"",
        ),
        ("cat <<'A'\nit's {{ '{{' }}\nA", "refused"),
        ("cat <<'A'\nit's\nA\necho {{ host }}", "cat <<'A'\nit's\nA\necho \"<host>\""),
        ("cat <<< {{ output }}", "cat <<< \"<output>\""),
        ("echo x > {{ labels.file }}", "echo x > \"<labels.file>\""),
        ("cmd 2>&1 {{ host }}", "cmd 2>&1 \"<host>\""),
        ("cmd &> log {{ host }}", "cmd &> log \"<host>\""),
        ("# it's {{ message }}\necho {{ host }}", "# it's <message>\necho \"<host>\""),
        ("echo a#b'{' {{ host }} # don't", "echo a#b'{' \"<host>\" # don't"),
        (
            "case {{ state }} in\n bad) echo {{ host }} ;;\n (okay|warning) echo {{ host }} ;;\nesac\necho {{ host }}",
            "case \"<state>\" in\n bad) echo \"<host>\" ;;\n (okay|warning) echo \"<host>\" ;;\nesac\necho \"<host>\"",
        ),
        (
            "x=$(case {{ state }} in bad) echo 1;; esac)\necho {{ host }}",
            "x=$(case \"<state>\" in bad) echo 1;; esac)\necho \"<host>\"",
        ),
        (
            "if [ {{ attempt }} -ge 3 ]; then logger {{ host }}; fi",
            "if [ \"<attempt>\" -ge 3 ]; then logger \"<host>\"; fi",
        ),
        ("n=$(( {{ attempt }} + 1 )); echo {{ host }}", "n=$(( <attempt> + 1 )); echo \"<host>\""),
        ("n=$(( (1+2)*(3) )); echo {{ host }}", "n=$(( (1+2)*(3) )); echo \"<host>\""),
        ("n=$((1+(2))); echo {{ host }}", "n=$((1+(2))); echo \"<host>\""),
        ("(cd /tmp; echo {{ host }})", "(cd /tmp; echo \"<host>\")"),
        ("f() { echo {{ host }}; }\nf", "f() { echo \"<host>\"; }\nf"),
        (
            "for i in {{ host }} {{ state }}; do echo \"$i\"; done",
            "for i in \"<host>\" \"<state>\"; do echo \"$i\"; done",
        ),
        ("list=({{ host }} x)", "list=(\"<host>\" x)"),
        ("sudo -u bob systemctl restart {{ labels.unit }}", "sudo -u bob systemctl restart \"<labels.unit>\""),
        ("docker exec {{ labels.name }} sh -c 'kill 1'", "docker exec \"<labels.name>\" sh -c 'kill 1'"),
        ("python3 /opt/x.py {{ message }} --to={{ host }}", "python3 /opt/x.py \"<message>\" --to=\"<host>\""),
        ("awk -v m={{ message }} 'BEGIN{print m}'", "awk -v m=\"<message>\" 'BEGIN{print m}'"),
        ("echo {{ message }} | mail -s {{ host }} ops", "echo \"<message>\" | mail -s \"<host>\" ops"),
        ("echo {{ message }} | sed 's/a/b/'", "echo \"<message>\" | sed 's/a/b/'"),
        ("echo {% if drill %}drill {% endif %}{{ host }}", "echo drill \"<host>\""),
        ("{% if drill %}echo{% else %}logger{% endif %} {{ host }}", "echologger \"<host>\""),
        ("echo \"{% for m in metrics %}{{ m.label }} {% endfor %}\"", "echo \"<m.label> \""),
        ("echo ${#x} ${x%%'}'} {{ host }}", "echo ${#x} ${x%%'}'} \"<host>\""),
        ("echo \\\n  {{ host }}", "echo \\\n  \"<host>\""),
        ("a && logger {{ host }} || logger {{ state }} &", "a && logger \"<host>\" || logger \"<state>\" &"),
        ("echo $'it\\'s' {{ host }}", "echo $'it\\'s' \"<host>\""),
        ("cat <(echo {{ host }})", "cat <(echo \"<host>\")"),
    ] {
        match quoted(script) {
            Ok(found) => assert_eq!(found, expected, "{script}"),
            Err(error) => assert_eq!(expected, "refused", "{script}: {error}"),
        }
    }
}

#[test]
fn places_where_a_value_cannot_stand_are_refused_with_a_reason() {
    for (script, reason) in [
        ("echo '{{ message }}'", "single quotes"),
        ("echo $'{{ message }}'", "single quotes"),
        ("echo \\{{ message }}", "behind `\\`"),
        ("echo \"\\{{ message }}\"", "behind `\\`"),
        ("echo ${{ message }}", "behind `$`"),
        ("echo \"${x:-{{ message }}}\"", "stands in `${..}`"),
        ("echo ${x:{{ attempt }}}", "stands in `${..}`"),
        ("echo \"${x:\"{{ message }}\"}\"", "stands in `${..}`"),
        ("echo `logger {{ message }}`", "backticks"),
        ("echo `logger \"$(echo {{ message }})\"`", "backticks"),
        ("n=$(( {{ message }} + 1 ))", "calculates"),
        ("(( n = {{ message }} ))", "calculates"),
        ("[[ {{ message }} -eq 1 ]]", "[[ .. ]]"),
        ("a[{{ message }}]=1", "index of an array"),
        ("a[{{ message }}", "index of an array"),
        ("declare -i n={{ message }}", "calculate"),
        ("local -n n={{ message }}", "calculate"),
        ("let n={{ message }}", "as code"),
        ("unset {{ message }}", "name of a variable"),
        ("export {{ message }}", "name of a variable"),
        ("read {{ message }}", "name of a variable"),
        ("[ -v {{ message }} ]", "name of a variable"),
        ("printf -v {{ message }} x", "name of a variable"),
        ("cat <<'EOF'\n{{ message }}\nEOF", "without quotes"),
        ("cat <<\\EOF\n{{ message }}\nEOF", "without quotes"),
        ("cat <<{{ message }}\nx\n", "ends a here-document"),
        ("sh <<EOF\necho {{ message }}\nEOF", "run as code"),
        ("ssh host <<EOF\necho {{ message }}\nEOF", "run as code"),
        ("cat <<EOF | sh\necho {{ message }}\nEOF", "run as code"),
        ("python3 - <<EOF\nprint('{{ message }}')\nEOF", "run as code"),
        ("eval \"echo {{ message }}\"", "as code"),
        ("sh -c \"echo {{ message }}\"", "as code"),
        ("/bin/bash -c \"echo {{ message }}\"", "as code"),
        ("sudo -u bob sh -c \"echo {{ message }}\"", "as code"),
        ("env X=1 timeout 5 bash -c {{ message }}", "as code"),
        ("docker exec x sh -c \"echo {{ message }}\"", "as code"),
        ("find / -exec sh -c \"echo {{ message }}\" \\;", "as code"),
        ("ssh host echo {{ message }}", "as code"),
        ("trap \"echo {{ message }}\" EXIT", "as code"),
        (". {{ labels.file }}", "as code"),
        ("f() { eval {{ message }}; }", "as code"),
        ("x=$(ssh h {{ message }})", "as code"),
        ("{% if drill %}eval{% endif %} {{ message }}", "code"),
        ("{% if drill %}eval{% else %}logger{% endif %} {{ message }}", "as code"),
        ("echo {% for m in metrics %}{{ m.label }}; eval {% endfor %}", "as code"),
        ("echo {{ message }} | sh", "piped into"),
        ("echo {{ message }} | tr a b | /bin/bash", "piped into"),
        ("echo \"insert {{ message }}\" | mysql", "piped into"),
        ("sed \"s/x/{{ message }}/\"", "may take for code"),
        ("sed {{ message }}/d", "may take for code"),
        ("awk \"BEGIN{print \\\"{{ message }}\\\"}\"", "may take for code"),
        ("{{ message }}", "would be run"),
        ("{{ labels.command }} --now", "would be run"),
        ("/usr/lib/x/{{ labels.command }}", "would be run"),
        ("X=1 {{ message }}", "would be run"),
        ("if {{ message }}; then :; fi", "would be run"),
        ("true && {{ message }}", "would be run"),
        ("echo $({{ message }})", "would be run"),
        ("sudo {{ message }}", "would be run"),
        ("exec {{ message }}", "would be run"),
        ("{% if drill %}echo \"{% endif %}{{ message }}", "must be closed in it"),
        ("{% for m in metrics %}'{% endfor %}{{ message }}", "must be closed in it"),
        ("echo {{ message }} \"", "not closed"),
        ("echo {{ message }} $(", "not closed"),
        ("cat <<EOF\n{{ message }}\n", "not closed"),
    ] {
        let error = quoted(script).expect_err(script);
        assert!(error.to_string().contains(reason), "{script}: {error}");
    }
}

#[test]
fn errors_name_the_line() {
    let error = quoted("#!/bin/sh\necho ok\necho '{{ message }}'\n").unwrap_err();
    assert_eq!(error.line, 3);
    let error = quoted("echo {{ host }}\necho \"\nx\n").unwrap_err();
    assert_eq!(error.line, 2);
}

proptest::proptest! {
    #[test]
    fn any_script_gives_an_answer(parts in proptest::collection::vec("(['\"`$(){}<|&;#\\\\ \n=\\[\\]-]|<<A|A\n|\\$\\(\\(|\\{\\{ host \\}\\}|\\{% if drill %\\}|\\{% endif %\\}|sh|eval|case|esac|x)", 0..24)) {
        if let Ok(segments) = parse(&parts.concat()) {
            let _ = quote(segments);
        }
    }
}
