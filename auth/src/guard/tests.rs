// SPDX-License-Identifier: Apache-2.0
use std::{cell::Cell, path::Path};

use aerobee_daemon::config::Keys as _;
use aerobee_remoting::body::auth::{Acl, Policy, PolicyEntry};

use super::*;
use crate::{
    authorize::{group, send, topic},
    config::AuthKeys,
    policy::Action,
    tables::Tables,
    user::UserChange,
};

/// What a test's request needs.
enum Needed {
    Each(Vec<Want<'static>>),
    Super,
}

/// A request as a test wants it.
struct Request {
    code: i32,
    username: &'static str,
    signed: bool,
    wants: Option<Needed>,
    /// How often the signature was looked at.
    looks: Cell<u32>,
}

impl Claim for Request {
    fn name(&self) -> &dyn fmt::Display {
        &self.code
    }

    fn username(&self) -> &str {
        self.username
    }

    fn peer(&self) -> Option<SocketAddr> {
        Some(([10, 0, 0, 1], 1234).into())
    }

    fn is_listed(&self, settings: &Settings) -> (bool, bool) {
        let code = self.code;
        (
            settings.unsigned.has_code(code),
            settings.free.has_code(code),
        )
    }

    fn is_signed(&self, _: &Account) -> bool {
        self.looks.set(self.looks.get() + 1);
        self.signed
    }

    fn wants(&self) -> Result<Wants<'_>, Denied> {
        match &self.wants {
            None => denied("unreadable"),
            Some(Needed::Super) => Ok(Wants::Super),
            Some(Needed::Each(wants)) => {
                let wants: Vec<Want<'_>> = wants.clone();
                Ok(Wants::Each(wants.into()))
            }
        }
    }
}

fn request(username: &'static str, wants: &[Want<'static>]) -> Request {
    Request {
        code: 10,
        username,
        signed: true,
        wants: Some(Needed::Each(wants.to_vec())),
        looks: Cell::new(0),
    }
}

struct World {
    _dir: tempfile::TempDir,
    tables: Tables,
    guard: Guard,
    verdicts: Verdicts,
}

impl World {
    /// Users `root` (super), `a` (normal, may send to `t`), `off` (disabled).
    fn new(keys: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tables = Tables::open(&dir.path().join("auth.json")).unwrap();
        tables.ensure_super("root", "x").unwrap();
        for (name, status) in [("a", UserStatus::Enable), ("off", UserStatus::Disable)] {
            tables
                .create_user(UserChange {
                    username: name.to_owned(),
                    password: Some("x".to_owned()),
                    user_type: None,
                    user_status: Some(status),
                })
                .unwrap();
        }
        let world = Self {
            _dir: dir,
            tables,
            guard: guard(keys),
            verdicts: Verdicts::default(),
        };
        world.allow("Topic:t", "Allow");
        world
    }

    fn allow(&self, resource: &str, decision: &str) {
        let entry = PolicyEntry {
            actions: Some(vec!["Pub".to_owned()]),
            decision: Some(decision.to_owned()),
            resource: Some(resource.to_owned()),
            source_ips: None,
        };
        let acl = Acl {
            policies: vec![Policy {
                entries: vec![entry],
                policy_type: None,
            }],
            subject: None,
        };
        self.tables.put_acl("User:a", &acl).unwrap();
    }

    fn ask(&self, request: &Request) -> Result<(), String> {
        let account = self.tables.account(request.username);
        self.guard
            .admit_claim(request, &self.verdicts, account.as_ref())
            .map_err(|Denied(why)| why)
    }

    fn refusal(&self, request: &Request) -> String {
        self.ask(request).unwrap_err()
    }
}

fn guard(keys: &[(&str, &str)]) -> Guard {
    let mut auth = AuthKeys::default();
    let on = [
        ("authenticationEnabled", "true"),
        ("authorizationEnabled", "true"),
    ];
    for (key, value) in on.iter().chain(keys) {
        auth.put(key, value).unwrap();
    }
    Guard::new(auth.settings().unwrap(), "C").unwrap()
}

#[test]
fn there_is_no_guard_where_nothing_is_to_be_checked() {
    let settings = AuthKeys::default().settings().unwrap();
    assert!(Guard::new(settings, "C").is_none());
    assert!(
        Tables::open(Path::new("/nowhere/auth.json"))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn who_is_let_in_and_why_not_in_apaches_words() {
    let world = World::new(&[]);
    world.ask(&request("a", &[send("t")])).unwrap();
    world.ask(&request("a", &[])).unwrap();
    world
        .ask(&request(
            "root",
            &[send("u"), group("g", Actions::of(&[Action::Sub]))],
        ))
        .unwrap();
    assert_eq!(world.refusal(&request("", &[])), "username cannot be null.");
    assert_eq!(world.refusal(&request("b", &[])), "User:b is not found.");
    assert_eq!(world.refusal(&request("off", &[])), "User:off is disabled.");
    let unsigned = Request {
        signed: false,
        ..request("root", &[])
    };
    assert_eq!(world.refusal(&unsigned), "check signature failed.");
    assert_eq!(
        world.refusal(&request("a", &[send("t"), send("u")])),
        "User:a has no permission to access Topic:u from 10.0.0.1, no matched policies."
    );
    world.allow("Topic:t", "Deny");
    assert_eq!(
        world.refusal(&request("a", &[send("t")])),
        "User:a has no permission to access Topic:t from 10.0.0.1, the decision is deny."
    );
    let unreadable = Request {
        wants: None,
        ..request("a", &[])
    };
    assert_eq!(world.refusal(&unreadable), "unreadable");
}

#[test]
fn what_the_table_does_not_know_is_for_super_users() {
    let world = World::new(&[]);
    let with = |username| Request {
        wants: Some(Needed::Super),
        ..request(username, &[])
    };
    world.ask(&with("root")).unwrap();
    assert_eq!(
        world.refusal(&with("a")),
        "User:a has no permission to access Request:10 from 10.0.0.1, only super users have."
    );
}

#[test]
fn without_authorization_every_user_may_do_everything() {
    let world = World::new(&[("authorizationEnabled", "false")]);
    world.ask(&request("a", &[send("u")])).unwrap();
    assert_eq!(world.refusal(&request("off", &[])), "User:off is disabled.");
}

#[test]
fn white_lists_are_for_codes() {
    let world = World::new(&[("authenticationWhitelist", "10")]);
    // What needs no right needs nobody; what needs one needs somebody who proves who he is.
    world.ask(&request("", &[])).unwrap();
    assert!(
        world
            .refusal(&request("", &[send("t")]))
            .starts_with("Authorization failed.")
    );
    let forged = Request {
        signed: false,
        ..request("root", &[send("t")])
    };
    assert_eq!(world.refusal(&forged), "check signature failed.");
    world.ask(&request("a", &[send("t")])).unwrap();

    let world = World::new(&[("authorizationWhitelist", "10")]);
    world.ask(&request("a", &[send("u")])).unwrap();
    assert_eq!(world.refusal(&request("", &[])), "username cannot be null.");
    let other = Request {
        code: 11,
        ..request("a", &[send("u")])
    };
    assert!(world.refusal(&other).contains("no matched policies"));

    let world = World::new(&[
        ("authenticationWhitelist", "10"),
        ("authorizationWhitelist", "10"),
    ]);
    let forged = Request {
        signed: false,
        ..request("nobody", &[send("u")])
    };
    world.ask(&forged).unwrap();
}

#[test]
fn signatures_are_checked_each_time_unless_connections_are_believed() {
    let world = World::new(&[]);
    let asked = request("a", &[send("t")]);
    for _ in 0..3 {
        world.ask(&asked).unwrap();
    }
    assert_eq!(asked.looks.get(), 3);

    let world = World::new(&[("authenticationStrategy", "StatefulAuthenticationStrategy")]);
    let asked = request("a", &[send("t")]);
    for _ in 0..3 {
        world.ask(&asked).unwrap();
    }
    assert_eq!(asked.looks.get(), 1);
    // Another user, and then the first one again, have to prove it.
    let forged = Request {
        signed: false,
        ..request("root", &[])
    };
    assert_eq!(world.refusal(&forged), "check signature failed.");
    world.ask(&asked).unwrap();
    assert_eq!(asked.looks.get(), 2);
    // A wrong signature is not remembered, so it keeps nobody out.
    let world = World::new(&[("authenticationStrategy", "StatefulAuthenticationStrategy")]);
    let forged = Request {
        signed: false,
        ..request("a", &[])
    };
    assert_eq!(world.refusal(&forged), "check signature failed.");
    world.ask(&asked).unwrap();
}

#[test]
fn a_change_counts_at_once_whatever_is_remembered() {
    let world = World::new(&[("authenticationStrategy", "StatefulAuthenticationStrategy")]);
    let asked = request("a", &[send("t")]);
    world.ask(&asked).unwrap();
    world.allow("Topic:t", "Deny");
    assert!(world.refusal(&asked).contains("the decision is deny"));
    world.allow("Topic:t", "Allow");
    world.ask(&asked).unwrap();
    let disable = UserChange {
        username: "a".to_owned(),
        user_status: Some(UserStatus::Disable),
        ..UserChange::default()
    };
    world.tables.update_user(disable).unwrap();
    assert_eq!(world.refusal(&asked), "User:a is disabled.");
    world.tables.delete_user("a").unwrap();
    assert_eq!(world.refusal(&asked), "User:a is not found.");
}

#[test]
fn what_a_connection_remembers_has_a_bound() {
    let world = World::new(&[]);
    world.allow("Topic:*", "Allow");
    for at in 0..10 * REMEMBERED_MAX {
        let name = format!("topic{at}");
        let wants = [topic(name, Actions::of(&[Action::Pub]))];
        world.ask(&request("a", &wants)).unwrap();
        assert!(world.verdicts.0.lock().allowed.len() <= REMEMBERED_MAX);
    }
    assert!(!world.verdicts.0.lock().allowed.is_empty());
}
