// SPDX-License-Identifier: Apache-2.0

//! Users and access lists: servers that ask who asks, SDKs that sign, and both mqadmins.

use std::{fmt::Write as _, fs, path::Path, sync::Arc};

use aerobee_compat_tests::{ApacheAdmin, Cluster, Kind, Outcome, Plan, Process, Sdk, our_admin};
use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;

use crate::world::{
    GO, GO_PLAIN, JAVA, JAVA_ROCKETMQ, NODE, OLD_JAVA, PYTHON, SCENARIO_LIMIT, World,
};

/// The first super user, and the one that servers sign as.
const FIRST: &str = r#"{"username":"root","password":"toor"}"#;
const INNER: &str = r#"{"accessKey":"inner","secretKey":"within"}"#;
/// The user of the trials. It may use topics and groups whose names begin as those of a run do.
const USER: (&str, &str) = ("someone", "secret");
const FORBIDDEN: &str = "AccessForbidden";

/// Apache's classes, which ours knows by name.
const BROKER: [(&str, &str); 8] = [
    ("authenticationEnabled", "true"),
    ("authorizationEnabled", "true"),
    ("initAuthenticationUser", FIRST),
    ("innerClientAuthenticationCredentials", INNER),
    (
        "authenticationProvider",
        "org.apache.rocketmq.auth.authentication.provider.DefaultAuthenticationProvider",
    ),
    (
        "authenticationMetadataProvider",
        "org.apache.rocketmq.auth.authentication.provider.LocalAuthenticationMetadataProvider",
    ),
    (
        "authorizationProvider",
        "org.apache.rocketmq.auth.authorization.provider.DefaultAuthorizationProvider",
    ),
    (
        "authorizationMetadataProvider",
        "org.apache.rocketmq.auth.authorization.provider.LocalAuthorizationMetadataProvider",
    ),
];
const PROXY: [(&str, &str); 8] = [
    ("authenticationEnabled", "true"),
    ("authorizationEnabled", "true"),
    ("innerClientAuthenticationCredentials", INNER),
    ("enableAclRpcHookForClusterMode", "true"),
    (
        "authenticationProvider",
        "org.apache.rocketmq.auth.authentication.provider.DefaultAuthenticationProvider",
    ),
    (
        "authenticationMetadataProvider",
        "org.apache.rocketmq.proxy.auth.ProxyAuthenticationMetadataProvider",
    ),
    (
        "authorizationProvider",
        "org.apache.rocketmq.auth.authorization.provider.DefaultAuthorizationProvider",
    ),
    (
        "authorizationMetadataProvider",
        "org.apache.rocketmq.proxy.auth.ProxyAuthorizationMetadataProvider",
    ),
];

/// Servers that ask who asks, and the keys of the first user.
pub(crate) struct Guarded {
    // Dropped before what it stands in front of.
    _proxy: Process,
    cluster: Cluster,
    home: TempDir,
}

impl Guarded {
    pub(crate) fn start(kind: Kind, proxy: Kind) -> Result<Self, Failed> {
        let conf = [Plan::of(kind).conf, &BROKER].concat();
        let cluster = Cluster::start(Plan {
            conf: &conf,
            ..Plan::of(kind)
        })?;
        let home = TempDir::with_prefix("aerobee-access-")?;
        fs::create_dir(home.path().join("conf"))?;
        fs::write(
            home.path().join("conf/tools.yml"),
            "accessKey: root\nsecretKey: toor\n",
        )?;
        let _proxy = cluster.proxy_with(proxy, &PROXY)?;
        let guarded = Self {
            _proxy,
            cluster,
            home,
        };
        guarded.topic(FORBIDDEN)?;
        let (user, password) = USER;
        guarded.told(&format!("createUser -b B -u {user} -p {password}"))?;
        guarded.told(&format!(
            "createAcl -b B -s User:{user} -r Topic:t* -a Pub,Sub -d Allow"
        ))?;
        guarded.told(&format!(
            "createAcl -b B -s User:{user} -r Group:t* -a Sub -d Allow"
        ))?;
        // Consumers of the remoting SDKs ask where a queue begins and ends.
        guarded.told(&format!(
            "createAcl -b B -s User:{user} -r Topic:t* -a Pub,Sub,Get -d Allow"
        ))?;
        Ok(guarded)
    }

    /// Runs our mqadmin as the first user; it has to succeed.
    fn told(&self, line: &str) -> Result<Outcome, Failed> {
        let outcome = self.ours(self.home.path(), line)?;
        if outcome.code == 0 {
            return Ok(outcome);
        }
        Err(format!("{line}: {outcome:?}").into())
    }

    fn ours(&self, home: &Path, line: &str) -> Result<Outcome, Failed> {
        let args = self.spelled(line);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Ok(our_admin(home, &args)?)
    }

    fn spelled(&self, line: &str) -> Vec<String> {
        let word = |word: &str| match word {
            "N" => self.cluster.namesrv_addr(),
            "B" => self.cluster.broker_addr(),
            word => word.to_owned(),
        };
        line.split(' ').map(word).collect()
    }

    fn topic(&self, name: &str) -> Result<(), Failed> {
        self.told(&format!(
            "updateTopic -b B -t {name} -r 2 -w 2 -a +message.type=NORMAL"
        ))?;
        Ok(self.cluster.await_topic(name)?)
    }
}

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let judged = world.judged;
    let mut trials = vec![world.trial(
        format!("mqadmin_users_and_access_lists_on_servers_of_{judged}"),
        managed,
    )];
    let remoting = [JAVA, JAVA_ROCKETMQ, OLD_JAVA, GO];
    let grpc = [JAVA, GO_PLAIN, PYTHON, NODE];
    let of = |scenario: &'static str| move |sdk: Sdk| (sdk, scenario);
    let all = remoting
        .map(of("access"))
        .into_iter()
        .chain(grpc.map(of("grpc_access")));
    for (sdk, scenario) in all {
        let name = format!("{judged}_{sdk}_{scenario}");
        trials.push(world.scenario(name, move |world| perform(world, sdk, scenario, USER)));
    }
    // A proxy of one kind asks a broker of the other for users.
    let other = match judged {
        Kind::Aerobee => Kind::Apache,
        Kind::Apache => Kind::Aerobee,
    };
    trials.push(world.scenario(
        format!("mixed_access_proxy_of_{judged}_broker_of_{other}"),
        move |world| {
            let _slot = world.slot();
            let guarded = Guarded::start(other, world.judged)?;
            perform_on(world, &guarded, JAVA, "grpc_access", USER)
        },
    ));
    trials.push(world.trial(
        format!("{judged}_java_access_needs_the_right_secret"),
        wrong_secret,
    ));
    trials
}

fn perform(world: &World, sdk: Sdk, scenario: &str, user: (&str, &str)) -> Result<(), Failed> {
    let guarded = world.guarded()?;
    perform_on(world, &guarded, sdk, scenario, user)
}

fn perform_on(
    world: &World,
    guarded: &Guarded,
    sdk: Sdk,
    scenario: &str,
    user: (&str, &str),
) -> Result<(), Failed> {
    let driver = world.driver(sdk)?;
    let prefix = world.prefix();
    let (topic, group) = (format!("{prefix}_mine"), format!("{prefix}_group"));
    guarded.topic(&topic)?;
    guarded.told(&format!("updateSubGroup -b B -g {group}"))?;
    let with = [
        ("prefix", &*prefix),
        ("ssl", "false"),
        ("topic", &*topic),
        ("group", &*group),
        ("forbidden", FORBIDDEN),
        ("access_key", user.0),
        ("secret_key", user.1),
    ];
    driver.perform(scenario, &guarded.cluster, &with, SCENARIO_LIMIT)?;
    Ok(())
}

fn wrong_secret(world: &World) -> Result<(), Failed> {
    for (scenario, words) in [
        ("access", "check signature failed."),
        ("grpc_access", "check signature failed."),
    ] {
        match perform(world, JAVA, scenario, (USER.0, "wrong")) {
            Ok(()) => return Err(format!("{scenario}: a wrong secret was taken").into()),
            Err(refused) if refused.message().unwrap_or_default().contains(words) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

/// What both mqadmins do, each with a user of its own (`U`), as the first user; and what each says of it.
const CHANGES: [&str; 8] = [
    "createUser -n N -c DefaultCluster -u U -p first -t Normal",
    "updateUser -n N -c DefaultCluster -u U -p second",
    "updateUser -b B -u U -s disable",
    "createAcl -n N -c DefaultCluster -s User:U -r Topic:x*,Group:g -a Pub,Sub -d Allow -i 10.0.0.0/8",
    "updateAcl -b B -s User:U -r Topic:x* -a Sub -d Deny",
    "copyUser -f B -t B -u U",
    "copyAcl -f B -t B -s User:U",
    "deleteAcl -b B -s User:U -r Group:g",
];
const LOOKS: [&str; 5] = [
    "getUser -b B -u AdmA",
    "getUser -n N -c DefaultCluster -u AdmB",
    "getAcl -b B -s User:AdmA",
    "listUser -b B",
    "listAcl -b B -s User:Adm",
];
const REFUSED: [(&str, &str); 3] = [
    ("createUser -b B -u AdmA -p x", "The user is existed"),
    (
        "createAcl -b B -s User:AdmNone -r Topic:x -a Pub -d Allow",
        "The subject of User:AdmNone is not exist.",
    ),
    ("getAcl -b B -s User:AdmNone", "The subject is not exist."),
];

fn managed(world: &World) -> Result<(), Failed> {
    let guarded = world.guarded()?;
    let mut apache = ApacheAdmin::start(guarded.home.path())?;
    let mut theirs = |line: &str| -> Result<Outcome, Failed> {
        let args = guarded.spelled(line);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Ok(apache.run(&args)?)
    };
    let mut wrong = String::new();
    for line in CHANGES {
        let told = theirs(&line.replace('U', "AdmA").replace("AdmAser", "User"))?;
        if !told.out.contains("success") {
            writeln!(wrong, "{line}\n--- Apache's: {told:?}")?;
        }
        guarded.told(&line.replace('U', "AdmB").replace("AdmBser", "User"))?;
    }
    for line in LOOKS {
        let (told, ours) = (theirs(line)?, guarded.told(line)?);
        if told.out != ours.out || ours.out.is_empty() {
            writeln!(wrong, "{line}\n--- Apache's: {told:?}\n--- ours: {ours:?}")?;
        }
    }
    for (line, reason) in REFUSED {
        let (told, ours) = (theirs(line)?, guarded.ours(guarded.home.path(), line)?);
        let all = format!("{}{}", told.out, told.err);
        if ours.code == 0 || !ours.err.contains(reason) || !all.contains(reason) {
            writeln!(wrong, "{line}\n--- Apache's: {told:?}\n--- ours: {ours:?}")?;
        }
    }
    for user in ["AdmA", "AdmB"] {
        guarded.told(&format!("deleteAcl -b B -s User:{user}"))?;
        guarded.told(&format!("deleteUser -b B -u {user}"))?;
        let gone = theirs(&format!("getUser -b B -u {user}"))?;
        if gone.out.contains(user) {
            writeln!(wrong, "{user} is still there: {gone:?}")?;
        }
    }
    let stranger = TempDir::with_prefix("aerobee-stranger-")?;
    let refused = guarded.ours(stranger.path(), "listUser -b B")?;
    if refused.code == 0 || !refused.err.contains("username cannot be null.") {
        writeln!(wrong, "without keys: {refused:?}")?;
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.into())
    }
}
