//! Checks that judge each other.

use super::{Directory, check, good, lines, names};

#[test]
fn checks_that_judge_each_other_are_refused_by_name() {
    let directory = Directory::with(
        "checks:\n  a: { all: { of: [b] } }\n  b: { all: { of: [x, a] } }\n  x: { beat: 1d, depends_on: [b] }\n  c: { all: { of: [a] } }\n",
    );
    let loaded = directory.load();
    assert_eq!(
        lines(&loaded),
        ["conf.d/a.yaml:3:3: check `b`: checks judge each other in a circle: `b` -> `a` -> `b`; \
          take one of them out of the members of the other: a problem would keep itself alive"]
    );
    // Whoever is refused is no member and no dependency; the others run.
    assert_eq!(names(&loaded), ["a", "c", "x"]);
    assert!(check(&loaded, "x").depends_on.is_empty());
}

#[test]
fn a_ring_goes_over_files_and_is_told_whole() {
    let directory = Directory::new();
    directory.write("conf.d/a.yaml", "checks: { a: { all: { of: [b] } } }\n");
    directory.write("conf.d/b.yaml", "checks: { b: { all: { of: [c] } } }\n");
    directory.write("conf.d/c.yaml", "checks: { c: { all: { of: [a] } } }\n");
    let loaded = directory.load();
    assert_eq!(loaded.problems.len(), 1, "{:?}", lines(&loaded));
    assert!(lines(&loaded)[0].starts_with("conf.d/c.yaml:1:11: check `c`: "), "{:?}", lines(&loaded));
    assert!(lines(&loaded)[0].contains("`c` -> `a` -> `b` -> `c`"), "{:?}", lines(&loaded));
    assert_eq!(names(&loaded), ["a", "b"]);
}

#[test]
fn instances_that_name_their_check_judge_each_other() {
    let loaded = Directory::with("checks:\n  g: { all: { of: [g] }, for_each: { note: [x, y] } }\n").load();
    assert_eq!(loaded.problems.len(), 1, "{:?}", lines(&loaded));
    assert!(lines(&loaded)[0].contains("check `g`: checks judge each other in a circle: `g["), "{:?}", lines(&loaded));
    assert_eq!(names(&loaded).len(), 1);
}

#[test]
fn who_judges_itself_or_is_judged_twice_makes_no_circle() {
    let loaded = good(
        "checks:\n  self: { all: { of: [self, x] } }\n  a: { all: { of: [b, c] } }\n  b: { all: { of: [d] } }\n  c: { all: { of: [d] } }\n  d: { all: { of: [x] } }\n  x: { beat: 1d }\n",
    );
    assert_eq!(names(&loaded).len(), 6);
}
