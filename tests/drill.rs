//! Drills with the real daemon and real targets: a file, and a program that refuses.

mod support;

use serde_json::Value;
use support::TestAgent;

fn out(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The events of the messages that stand in the file of the target `book`.
fn book(agent: &TestAgent) -> Vec<Value> {
    let event = |line: &String| serde_json::from_str::<Value>(line).unwrap()["event"].take();
    agent.lines("book.jsonl").iter().map(event).collect()
}

#[test]
fn drills_reach_real_targets_and_change_nothing() {
    let mut agent = TestAgent::configured("checks: {}");
    agent.script("refuse", "#!/bin/sh\necho 'the gateway is shut' >&2\nexit 1\n");
    agent.configure(
        "defaults: { interval: 300ms, retry_interval: 100ms, retries: 1, actions: [book, pager, boss, mend] }
checks:
  shop: { plugin: /usr/lib/nagios/plugins/check_dummy 0 fine }
actions:
  book: { file: '{dir}/book.jsonl' }
  pager: { command: '{dir}/refuse' }
  boss: { file: '{dir}/boss.jsonl', delay: 1h, states: [bad] }
  mend: { script: 'touch {dir}/mended', on: [bad], cooldown: 10m }
",
    );
    agent.launch();
    agent.wait_for_state("shop", "okay", "hard");

    let test = agent.command(&["notify", "test", "book"]);
    assert_eq!(test.status.code(), Some(0), "{}", err(&test));
    assert!(out(&test).starts_with("`book` took the drill"), "{}", out(&test));
    let told = book(&agent);
    assert_eq!((told.len(), &told[0]["drill"], &told[0]["state"]), (1, &Value::Bool(true), &"bad".into()), "{told:#?}");
    let refused = agent.command(&["notify", "test", "pager", "--state", "warning"]);
    assert_eq!(refused.status.code(), Some(5), "{}", out(&refused));
    assert!(err(&refused).contains("the gateway is shut"), "{}", err(&refused));
    let misspelt = agent.command(&["notify", "test", "boook"]);
    assert!(err(&misspelt).contains("did you mean `book`?"), "{}", err(&misspelt));
    let script = agent.command(&["notify", "test", "mend"]);
    assert!(err(&script).contains("is a script"), "{}", err(&script));

    let shown = agent.command(&["drill", "shop", "bad", "--json"]);
    assert_eq!(shown.status.code(), Some(0), "{}", err(&shown));
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let plans: Vec<_> = shown["targets"].as_array().unwrap().iter().map(|target| &target["plan"]).collect();
    assert_eq!(plans, ["tell", "tell", "held"], "{shown:#}");
    assert_eq!(shown["scripts"][0]["verdict"], "runs", "{shown:#}");
    assert_eq!(book(&agent).len(), 1, "nobody was told");

    let sent = agent.command(&["drill", "shop", "bad", "--send"]);
    assert_eq!(sent.status.code(), Some(5), "one of two refused: {}", out(&sent));
    assert!(out(&sent).contains("`book` took the drill") && out(&sent).contains("`pager` could not be told"));
    let told = book(&agent);
    let about = (&told[1]["drill"], &told[1]["state"], &told[1]["check"]["name"]);
    assert_eq!((told.len(), about), (2, (&true.into(), &"bad".into(), &"shop".into())), "{told:#?}");
    assert!(
        !agent.path("boss.jsonl").exists() && !agent.path("mended").exists(),
        "who waits is not told, nothing runs"
    );
    let row = agent.wait_for_state("shop", "okay", "hard");
    assert_eq!(row["holds"].as_array().map(Vec::len), Some(0));
    let detail = agent.get("/v1/check?name=shop").unwrap();
    assert!(detail["targets"].as_array().unwrap().iter().all(|target| target["told_at"].is_null()), "{detail:#}");

    agent.wait_for("the log to have all drills", |agent| {
        out(&agent.command(&["notify", "log"])).matches("drill: problem").count() == 4
    });
    let log = out(&agent.command(&["notify", "log", "--target", "pager"]));
    assert!(log.contains("failed") && log.contains("the gateway is shut") && !log.contains("book"), "{log}");
    let json = agent.command(&["notify", "log", "--target", "book", "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let drills: Vec<_> = json["events"].as_array().unwrap().iter().map(|event| &event["drill"]).collect();
    assert_eq!(drills, [&Value::Bool(true), &Value::Bool(true)], "{json:#}");
    let none = out(&agent.command(&["notify", "log", "--target", "pagr"]));
    assert!(none.contains("did you mean `pager`?"), "{none}");
}
