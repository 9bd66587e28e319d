// SPDX-License-Identifier: Apache-2.0
//! Every number with a name on the wire: request codes, response codes, languages, versions.
//!
//! Values are those of Apache 5.5.0: `RequestCode`, `ResponseCode`, `RemotingSysResponseCode`,
//! `LanguageCode` and `MQVersion`.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Defines the constants of a code type and the way back from a number to its name.
macro_rules! codes {
    ($type:ident, $what:literal: $($name:ident = $value:literal;)+) => {
        impl $type {
            $(
                #[doc = concat!($what, " ", $value, ".")]
                pub const $name: Self = Self($value);
            )+

            /// Every code there is, in ascending order.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Apache's name of the code; `None` when it has none.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => write!(f, "{} {name}", self.0),
                    None => write!(f, "{}", self.0),
                }
            }
        }

        impl From<i32> for $type {
            fn from(code: i32) -> Self {
                Self(code)
            }
        }
    };
}

/// What a request asks for. Any number can arrive; the known ones have a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestCode(pub i32);

codes! {
    RequestCode, "Request code":
    SEND_MESSAGE = 10;
    PULL_MESSAGE = 11;
    QUERY_MESSAGE = 12;
    QUERY_BROKER_OFFSET = 13;
    QUERY_CONSUMER_OFFSET = 14;
    UPDATE_CONSUMER_OFFSET = 15;
    UPDATE_AND_CREATE_TOPIC = 17;
    UPDATE_AND_CREATE_TOPIC_LIST = 18;
    GET_ALL_TOPIC_CONFIG = 21;
    GET_TOPIC_CONFIG_LIST = 22;
    GET_TOPIC_NAME_LIST = 23;
    UPDATE_BROKER_CONFIG = 25;
    GET_BROKER_CONFIG = 26;
    TRIGGER_DELETE_FILES = 27;
    GET_BROKER_RUNTIME_INFO = 28;
    SEARCH_OFFSET_BY_TIMESTAMP = 29;
    GET_MAX_OFFSET = 30;
    GET_MIN_OFFSET = 31;
    GET_EARLIEST_MSG_STORETIME = 32;
    VIEW_MESSAGE_BY_ID = 33;
    HEART_BEAT = 34;
    UNREGISTER_CLIENT = 35;
    CONSUMER_SEND_MSG_BACK = 36;
    END_TRANSACTION = 37;
    GET_CONSUMER_LIST_BY_GROUP = 38;
    CHECK_TRANSACTION_STATE = 39;
    NOTIFY_CONSUMER_IDS_CHANGED = 40;
    LOCK_BATCH_MQ = 41;
    UNLOCK_BATCH_MQ = 42;
    GET_ALL_CONSUMER_OFFSET = 43;
    GET_ALL_DELAY_OFFSET = 45;
    CHECK_CLIENT_CONFIG = 46;
    GET_CLIENT_CONFIG = 47;
    GET_TIMER_CHECK_POINT = 60;
    GET_TIMER_METRICS = 61;
    PUT_KV_CONFIG = 100;
    GET_KV_CONFIG = 101;
    DELETE_KV_CONFIG = 102;
    REGISTER_BROKER = 103;
    UNREGISTER_BROKER = 104;
    GET_ROUTEINFO_BY_TOPIC = 105;
    GET_BROKER_CLUSTER_INFO = 106;
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP = 200;
    GET_ALL_SUBSCRIPTIONGROUP_CONFIG = 201;
    GET_TOPIC_STATS_INFO = 202;
    GET_CONSUMER_CONNECTION_LIST = 203;
    GET_PRODUCER_CONNECTION_LIST = 204;
    WIPE_WRITE_PERM_OF_BROKER = 205;
    GET_ALL_TOPIC_LIST_FROM_NAMESERVER = 206;
    DELETE_SUBSCRIPTIONGROUP = 207;
    GET_CONSUME_STATS = 208;
    SUSPEND_CONSUMER = 209;
    RESUME_CONSUMER = 210;
    RESET_CONSUMER_OFFSET_IN_CONSUMER = 211;
    RESET_CONSUMER_OFFSET_IN_BROKER = 212;
    ADJUST_CONSUMER_THREAD_POOL = 213;
    WHO_CONSUME_THE_MESSAGE = 214;
    DELETE_TOPIC_IN_BROKER = 215;
    DELETE_TOPIC_IN_NAMESRV = 216;
    REGISTER_TOPIC_IN_NAMESRV = 217;
    GET_KVLIST_BY_NAMESPACE = 219;
    RESET_CONSUMER_CLIENT_OFFSET = 220;
    GET_CONSUMER_STATUS_FROM_CLIENT = 221;
    INVOKE_BROKER_TO_RESET_OFFSET = 222;
    INVOKE_BROKER_TO_GET_CONSUMER_STATUS = 223;
    GET_TOPICS_BY_CLUSTER = 224;
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST = 225;
    QUERY_TOPIC_CONSUME_BY_WHO = 300;
    REGISTER_FILTER_SERVER = 301;
    REGISTER_MESSAGE_FILTER_CLASS = 302;
    QUERY_CONSUME_TIME_SPAN = 303;
    GET_SYSTEM_TOPIC_LIST_FROM_NS = 304;
    GET_SYSTEM_TOPIC_LIST_FROM_BROKER = 305;
    CLEAN_EXPIRED_CONSUMEQUEUE = 306;
    GET_CONSUMER_RUNNING_INFO = 307;
    QUERY_CORRECTION_OFFSET = 308;
    CONSUME_MESSAGE_DIRECTLY = 309;
    SEND_MESSAGE_V2 = 310;
    GET_UNIT_TOPIC_LIST = 311;
    GET_HAS_UNIT_SUB_TOPIC_LIST = 312;
    GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST = 313;
    CLONE_GROUP_OFFSET = 314;
    VIEW_BROKER_STATS_DATA = 315;
    CLEAN_UNUSED_TOPIC = 316;
    GET_BROKER_CONSUME_STATS = 317;
    UPDATE_NAMESRV_CONFIG = 318;
    GET_NAMESRV_CONFIG = 319;
    SEND_BATCH_MESSAGE = 320;
    QUERY_CONSUME_QUEUE = 321;
    QUERY_DATA_VERSION = 322;
    RESUME_CHECK_HALF_MESSAGE = 323;
    SEND_REPLY_MESSAGE = 324;
    SEND_REPLY_MESSAGE_V2 = 325;
    PUSH_REPLY_MESSAGE_TO_CLIENT = 326;
    ADD_WRITE_PERM_OF_BROKER = 327;
    GET_ALL_PRODUCER_INFO = 328;
    DELETE_EXPIRED_COMMITLOG = 329;
    QUERY_TOPICS_BY_CONSUMER = 343;
    QUERY_SUBSCRIPTION_BY_CONSUMER = 345;
    GET_TOPIC_CONFIG = 351;
    GET_SUBSCRIPTIONGROUP_CONFIG = 352;
    UPDATE_AND_GET_GROUP_FORBIDDEN = 353;
    CHECK_ROCKSDB_CQ_WRITE_PROGRESS = 354;
    EXPORT_ROCKSDB_CONFIG_TO_JSON = 355;
    LITE_PULL_MESSAGE = 361;
    RECALL_MESSAGE = 370;
    QUERY_ASSIGNMENT = 400;
    SET_MESSAGE_REQUEST_MODE = 401;
    GET_ALL_MESSAGE_REQUEST_MODE = 402;
    UPDATE_AND_CREATE_STATIC_TOPIC = 513;
    GET_BROKER_MEMBER_GROUP = 901;
    ADD_BROKER = 902;
    REMOVE_BROKER = 903;
    BROKER_HEARTBEAT = 904;
    NOTIFY_MIN_BROKER_ID_CHANGE = 905;
    EXCHANGE_BROKER_HA_INFO = 906;
    GET_BROKER_HA_STATUS = 907;
    RESET_MASTER_FLUSH_OFFSET = 908;
    CONTROLLER_ALTER_SYNC_STATE_SET = 1001;
    CONTROLLER_ELECT_MASTER = 1002;
    CONTROLLER_REGISTER_BROKER = 1003;
    CONTROLLER_GET_REPLICA_INFO = 1004;
    CONTROLLER_GET_METADATA_INFO = 1005;
    CONTROLLER_GET_SYNC_STATE_DATA = 1006;
    GET_BROKER_EPOCH_CACHE = 1007;
    NOTIFY_BROKER_ROLE_CHANGED = 1008;
    UPDATE_CONTROLLER_CONFIG = 1009;
    GET_CONTROLLER_CONFIG = 1010;
    CLEAN_BROKER_DATA = 1011;
    CONTROLLER_GET_NEXT_BROKER_ID = 1012;
    CONTROLLER_APPLY_BROKER_ID = 1013;
    UPDATE_COLD_DATA_FLOW_CTR_CONFIG = 2001;
    REMOVE_COLD_DATA_FLOW_CTR_CONFIG = 2002;
    GET_COLD_DATA_FLOW_CTR_INFO = 2003;
    SET_COMMITLOG_READ_MODE = 2004;
    AUTH_CREATE_USER = 3001;
    AUTH_UPDATE_USER = 3002;
    AUTH_DELETE_USER = 3003;
    AUTH_GET_USER = 3004;
    AUTH_LIST_USER = 3005;
    AUTH_CREATE_ACL = 3006;
    AUTH_UPDATE_ACL = 3007;
    AUTH_DELETE_ACL = 3008;
    AUTH_GET_ACL = 3009;
    AUTH_LIST_ACL = 3010;
    SWITCH_TIMER_ENGINE = 5001;
    POP_MESSAGE = 200050;
    ACK_MESSAGE = 200051;
    PEEK_MESSAGE = 200052;
    CHANGE_MESSAGE_INVISIBLETIME = 200053;
    NOTIFICATION = 200054;
    POLLING_INFO = 200055;
    POP_ROLLBACK = 200056;
    POP_LITE_MESSAGE = 200070;
    LITE_SUBSCRIPTION_CTL = 200071;
    ACK_LITE_MESSAGE = 200072;
    NOTIFY_UNSUBSCRIBE_LITE = 200073;
    GET_BROKER_LITE_INFO = 200074;
    GET_PARENT_TOPIC_INFO = 200075;
    GET_LITE_TOPIC_INFO = 200076;
    GET_LITE_CLIENT_INFO = 200077;
    GET_LITE_GROUP_INFO = 200078;
    TRIGGER_LITE_DISPATCH = 200079;
    BATCH_ACK_MESSAGE = 200151;
}

/// How a request ended. Any number can arrive; the known ones have a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResponseCode(pub i32);

codes! {
    ResponseCode, "Response code":
    RPC_TIME_OUT = -1006;
    RPC_SEND_TO_CHANNEL_FAILED = -1004;
    RPC_ADDR_IS_NULL = -1002;
    RPC_UNKNOWN = -1000;
    SUCCESS = 0;
    SYSTEM_ERROR = 1;
    SYSTEM_BUSY = 2;
    REQUEST_CODE_NOT_SUPPORTED = 3;
    TRANSACTION_FAILED = 4;
    FLUSH_DISK_TIMEOUT = 10;
    SLAVE_NOT_AVAILABLE = 11;
    FLUSH_SLAVE_TIMEOUT = 12;
    MESSAGE_ILLEGAL = 13;
    SERVICE_NOT_AVAILABLE = 14;
    VERSION_NOT_SUPPORTED = 15;
    NO_PERMISSION = 16;
    TOPIC_NOT_EXIST = 17;
    TOPIC_EXIST_ALREADY = 18;
    PULL_NOT_FOUND = 19;
    PULL_RETRY_IMMEDIATELY = 20;
    PULL_OFFSET_MOVED = 21;
    QUERY_NOT_FOUND = 22;
    SUBSCRIPTION_PARSE_FAILED = 23;
    SUBSCRIPTION_NOT_EXIST = 24;
    SUBSCRIPTION_NOT_LATEST = 25;
    SUBSCRIPTION_GROUP_NOT_EXIST = 26;
    FILTER_DATA_NOT_EXIST = 27;
    FILTER_DATA_NOT_LATEST = 28;
    INVALID_PARAMETER = 29;
    TRANSACTION_SHOULD_COMMIT = 200;
    TRANSACTION_SHOULD_ROLLBACK = 201;
    TRANSACTION_STATE_UNKNOW = 202;
    TRANSACTION_STATE_GROUP_WRONG = 203;
    NO_BUYER_ID = 204;
    NOT_IN_CURRENT_UNIT = 205;
    CONSUMER_NOT_ONLINE = 206;
    CONSUME_MSG_TIMEOUT = 207;
    NO_MESSAGE = 208;
    POLLING_FULL = 209;
    POLLING_TIMEOUT = 210;
    BROKER_NOT_EXIST = 211;
    BROKER_DISPATCH_NOT_COMPLETE = 212;
    BROADCAST_CONSUMPTION = 213;
    FLOW_CONTROL = 215;
    NOT_LEADER_FOR_QUEUE = 501;
    ILLEGAL_OPERATION = 604;
    GO_AWAY = 1500;
    CONTROLLER_FENCED_MASTER_EPOCH = 2000;
    CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH = 2001;
    CONTROLLER_INVALID_MASTER = 2002;
    CONTROLLER_INVALID_REPLICAS = 2003;
    CONTROLLER_MASTER_NOT_AVAILABLE = 2004;
    CONTROLLER_INVALID_REQUEST = 2005;
    CONTROLLER_BROKER_NOT_ALIVE = 2006;
    CONTROLLER_NOT_LEADER = 2007;
    CONTROLLER_BROKER_METADATA_NOT_EXIST = 2008;
    CONTROLLER_INVALID_CLEAN_BROKER_METADATA = 2009;
    CONTROLLER_BROKER_NEED_TO_BE_REGISTERED = 2010;
    CONTROLLER_MASTER_STILL_EXIST = 2011;
    CONTROLLER_ELECT_MASTER_FAILED = 2012;
    CONTROLLER_ALTER_SYNC_STATE_SET_FAILED = 2013;
    CONTROLLER_BROKER_ID_INVALID = 2014;
    CONTROLLER_JRAFT_INTERNAL_ERROR = 2015;
    CONTROLLER_BROKER_LIVE_INFO_NOT_EXISTS = 2016;
    LMQ_QUOTA_EXCEEDED = 2017;
    LITE_SUBSCRIPTION_QUOTA_EXCEEDED = 2018;
    USER_NOT_EXIST = 3001;
    POLICY_NOT_EXIST = 3002;
}

/// Language that a command's sender is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
#[expect(missing_docs, reason = "the variants are names of languages")]
pub enum Language {
    #[default]
    Java = 0,
    Cpp = 1,
    Dotnet = 2,
    Python = 3,
    Delphi = 4,
    Erlang = 5,
    Ruby = 6,
    /// Also what every unknown number or name is read as.
    Other = 7,
    Http = 8,
    Go = 9,
    Php = 10,
    Oms = 11,
    Rust = 12,
    NodeJs = 13,
}

impl Language {
    /// Every language, in the order of the codes.
    pub const ALL: &[Self] = &[
        Self::Java,
        Self::Cpp,
        Self::Dotnet,
        Self::Python,
        Self::Delphi,
        Self::Erlang,
        Self::Ruby,
        Self::Other,
        Self::Http,
        Self::Go,
        Self::Php,
        Self::Oms,
        Self::Rust,
        Self::NodeJs,
    ];

    /// The language of a compact header's byte.
    #[inline]
    pub fn from_u8(code: u8) -> Self {
        Self::ALL
            .get(usize::from(code))
            .copied()
            .unwrap_or(Self::Other)
    }

    /// The language of a JSON header's name.
    #[inline]
    pub fn from_name(name: &str) -> Self {
        Self::ALL
            .iter()
            .copied()
            .find(|language| language.name() == name)
            .unwrap_or(Self::Other)
    }

    /// The name in JSON headers.
    #[inline]
    pub fn name(self) -> &'static str {
        match self {
            Self::Java => "JAVA",
            Self::Cpp => "CPP",
            Self::Dotnet => "DOTNET",
            Self::Python => "PYTHON",
            Self::Delphi => "DELPHI",
            Self::Erlang => "ERLANG",
            Self::Ruby => "RUBY",
            Self::Other => "OTHER",
            Self::Http => "HTTP",
            Self::Go => "GO",
            Self::Php => "PHP",
            Self::Oms => "OMS",
            Self::Rust => "RUST",
            Self::NodeJs => "NODE_JS",
        }
    }

    /// The byte in compact headers.
    #[inline]
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl Serialize for Language {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Language {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Ok(text
            .parse()
            .map_or_else(|_| Self::from_name(&text), Self::from_u8))
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Version ordinals (`MQVersion.Version`) at which something on the wire changes.
pub mod version {
    /// Clients above it answer 220 and 221.
    pub const V3_0_6: i32 = 27;
    /// First version that answers 220 and 221.
    pub const V3_0_7_SNAPSHOT: i32 = 28;
    /// Brokers from here on send filter servers with their topics when they register.
    pub const V3_0_11: i32 = 37;
    /// Clients from here on answer 307.
    pub const V3_1_8_SNAPSHOT: i32 = 62;
    /// Senders from here on set `maxReconsumeTimes` themselves.
    pub const V3_4_9: i32 = 121;
    /// Brokers from here on filter by SQL92.
    pub const V4_1_0_SNAPSHOT: i32 = 232;
    /// Up to here `_UNIQUE_KEY_QUERY` is not signed.
    pub const V4_9_3: i32 = 399;
    /// Clients from here on get routes with quoted keys.
    pub const V4_9_4: i32 = 401;
    /// Brokers from here on send static topics in a compressed registration.
    pub const V5_0_0: i32 = 413;
    /// Clients above it understand GO_AWAY.
    pub const V5_3_1: i32 = 475;
    /// The version of the topic attribute `message.type` = `LITE`.
    pub const V5_4_0: i32 = 493;
    /// What this project says of itself.
    pub const V5_5_0: i32 = 513;
    /// Everything after V5_9_9.
    pub const HIGHER_VERSION: i32 = 612;

    /// First ordinals of the 3.0 line, which had alphas and betas.
    const EARLY: [&str; 16] = [
        "V3_0_0_SNAPSHOT",
        "V3_0_0_ALPHA1",
        "V3_0_0_BETA1",
        "V3_0_0_BETA2",
        "V3_0_0_BETA3",
        "V3_0_0_BETA4",
        "V3_0_0_BETA5",
        "V3_0_0_BETA6_SNAPSHOT",
        "V3_0_0_BETA6",
        "V3_0_0_BETA7_SNAPSHOT",
        "V3_0_0_BETA7",
        "V3_0_0_BETA8_SNAPSHOT",
        "V3_0_0_BETA8",
        "V3_0_0_BETA9_SNAPSHOT",
        "V3_0_0_BETA9",
        "V3_0_0_FINAL",
    ];

    /// First ordinal of each line of releases after [`EARLY`], with its first patch number.
    const LINES: [(i32, i32, i32, i32); 31] = [
        (16, 3, 0, 1),
        (46, 3, 1, 0),
        (66, 3, 2, 0),
        (86, 3, 3, 1),
        (104, 3, 4, 1),
        (122, 3, 5, 1),
        (140, 3, 6, 1),
        (158, 3, 7, 1),
        (176, 3, 8, 1),
        (194, 3, 9, 1),
        (212, 4, 0, 0),
        (232, 4, 1, 0),
        (252, 4, 2, 0),
        (272, 4, 3, 0),
        (292, 4, 4, 0),
        (312, 4, 5, 0),
        (332, 4, 6, 0),
        (352, 4, 7, 0),
        (372, 4, 8, 0),
        (392, 4, 9, 0),
        (412, 5, 0, 0),
        (432, 5, 1, 0),
        (452, 5, 2, 0),
        (472, 5, 3, 0),
        (492, 5, 4, 0),
        (512, 5, 5, 0),
        (532, 5, 6, 0),
        (552, 5, 7, 0),
        (572, 5, 8, 0),
        (592, 5, 9, 0),
        (HIGHER_VERSION, 0, 0, 0),
    ];

    /// The name of an ordinal, as admin tools print it: `V5_5_0`. Unknown ones are
    /// `HIGHER_VERSION`.
    pub fn name(ordinal: i32) -> String {
        if let Some(early) = usize::try_from(ordinal).ok().and_then(|at| EARLY.get(at)) {
            return (*early).to_owned();
        }
        // Each release has two ordinals, its snapshot and itself.
        match LINES.iter().rev().find(|line| line.0 <= ordinal) {
            Some(&(first, major, minor, patch)) if first != HIGHER_VERSION => {
                let step = ordinal - first;
                let suffix = if step % 2 == 0 { "_SNAPSHOT" } else { "" };
                format!("V{major}_{minor}_{}{suffix}", patch + step / 2)
            }
            _ => "HIGHER_VERSION".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_apaches_numbers_and_names() {
        assert_eq!(RequestCode::SEND_MESSAGE.0, 10);
        assert_eq!(RequestCode(200_151).name(), Some("BATCH_ACK_MESSAGE"));
        assert_eq!(RequestCode(4711).name(), None);
        assert_eq!(RequestCode(105).to_string(), "105 GET_ROUTEINFO_BY_TOPIC");
        assert_eq!(ResponseCode(17).name(), Some("TOPIC_NOT_EXIST"));
        assert_eq!(ResponseCode(-1000).to_string(), "-1000 RPC_UNKNOWN");
        assert_eq!(ResponseCode(4711).to_string(), "4711");
    }

    #[test]
    fn codes_are_sorted_and_unique() {
        assert!(RequestCode::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(ResponseCode::ALL.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn languages_go_there_and_back() {
        for language in Language::ALL {
            assert_eq!(Language::from_u8(language.code()), *language);
            assert_eq!(Language::from_name(language.name()), *language);
        }
        assert_eq!(Language::from_u8(9), Language::Go);
        assert_eq!(Language::from_u8(200), Language::Other);
        assert_eq!(Language::from_name("COBOL"), Language::Other);
    }

    #[test]
    fn version_names_follow_the_ordinals() {
        for (ordinal, name) in [
            (-1, "HIGHER_VERSION"),
            (0, "V3_0_0_SNAPSHOT"),
            (15, "V3_0_0_FINAL"),
            (version::V3_0_6, "V3_0_6"),
            (version::V3_0_11, "V3_0_11"),
            (45, "V3_0_15"),
            (version::V3_1_8_SNAPSHOT, "V3_1_8_SNAPSHOT"),
            (version::V3_4_9, "V3_4_9"),
            (version::V4_1_0_SNAPSHOT, "V4_1_0_SNAPSHOT"),
            (317, "V4_5_2"),
            (version::V4_9_3, "V4_9_3"),
            (version::V4_9_4, "V4_9_4"),
            (version::V5_0_0, "V5_0_0"),
            (version::V5_3_1, "V5_3_1"),
            (version::V5_4_0, "V5_4_0"),
            (version::V5_5_0, "V5_5_0"),
            (611, "V5_9_9"),
            (612, "HIGHER_VERSION"),
            (9999, "HIGHER_VERSION"),
        ] {
            assert_eq!(version::name(ordinal), name);
        }
    }
}
