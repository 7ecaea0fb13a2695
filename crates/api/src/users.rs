//! Names of users, from `/etc/passwd`: a comment beside a hold needs no directory service, and none may hang here.

/// The name of a user, or `user 1000` if the file does not know it. Blocks for the reading of a small file.
pub(crate) fn name(uid: u32) -> String {
    std::fs::read_to_string("/etc/passwd")
        .ok()
        .and_then(|passwd| find(&passwd, uid).map(ToOwned::to_owned))
        .unwrap_or_else(|| format!("user {uid}"))
}

fn find(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn users_are_found_by_their_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\nodd\nmaria:x:1000:100::/home/maria:/bin/sh\n";
        assert_eq!(find(passwd, 0), Some("root"));
        assert_eq!(find(passwd, 1000), Some("maria"));
        assert_eq!(find(passwd, 100), None);
    }
}
