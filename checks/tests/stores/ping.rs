//! `ping` against loopback and an address that belongs to nobody. Where the system does not let the tests send echoes, the check must
//! say what to do about that.

use monchero_core::State;
use monchero_core::report::ServiceResult;

use crate::{TIMEOUT, run, value};

/// Whether the system let us.
fn was_allowed(result: &ServiceResult) -> bool {
    if result.state == State::Unknown {
        assert!(result.message.contains("sysctl -w net.ipv4.ping_group_range=\"0 2147483647\""), "{}", result.message);
        assert!(result.message.contains("AmbientCapabilities=CAP_NET_RAW"), "{}", result.message);
    }
    result.state != State::Unknown
}

#[tokio::test]
async fn loopback_answers_every_echo() {
    for (host, size) in [("127.0.0.1", "56B"), ("::1", "8B"), ("localhost", "60001B")] {
        let result = run("ping", &format!("host: \"{host}\"\ncount: 3\nspacing: 20ms\nsize: {size}"), TIMEOUT).await;
        if was_allowed(&result) {
            assert_eq!(result.state, State::Okay, "{}", result.message);
            assert_eq!(value(&result, &format!("{host} loss")), Some(0.0));
            let values =
                ["fastest", "time", "slowest"].map(|label| value(&result, &format!("{host} {label}")).unwrap());
            assert!(values.is_sorted() && values[0] > 0.0 && values[2] < 1.0, "{values:?}");
        }
    }
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_bad_and_delays_no_other() {
    let result = run("ping", "host: [127.0.0.1, 198.51.100.77]\ncount: 2\nspacing: 20ms", TIMEOUT).await;
    if was_allowed(&result) {
        assert_eq!(result.state, State::Bad, "{}", result.message);
        assert!(result.message.starts_with("198.51.100.77 answers none of 2 echoes"), "{}", result.message);
        assert_eq!(value(&result, "198.51.100.77 loss"), Some(100.0));
        assert_eq!(value(&result, "127.0.0.1 loss"), Some(0.0));
    }
}
