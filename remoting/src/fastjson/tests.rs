// SPDX-License-Identifier: Apache-2.0
//! The dialect in both directions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::*;
use crate::body::MessageQueue;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Sample {
    by_id: BTreeMap<i64, String>,
    by_queue: BTreeMap<MessageQueue, i64>,
    flag: bool,
    list: Vec<String>,
    long_value: i64,
    maybe: Option<String>,
    rate: f64,
    small: i32,
    text: String,
}

fn queue(topic: &str, queue_id: i32) -> MessageQueue {
    MessageQueue::new(topic, "b", queue_id)
}

#[test]
fn writes_quoted_numbers_and_raw_objects_as_keys_and_omits_nulls() {
    let sample = Sample {
        by_id: BTreeMap::from([(0, "a:1".into()), (-2, "b".into())]),
        by_queue: BTreeMap::from([(queue("T", 0), 7), (queue("T", 1), 8)]),
        rate: 1e-5,
        text: "q\"\\\n\u{1}ü/".into(),
        ..Sample::default()
    };
    assert_eq!(
        String::from_utf8(to_vec(&sample)).unwrap(),
        concat!(
            r#"{"byId":{"-2":"b","0":"a:1"},"#,
            r#""byQueue":{{"brokerName":"b","queueId":0,"topic":"T"}:7,{"brokerName":"b","queueId":1,"topic":"T"}:8},"#,
            r#""flag":false,"list":[],"longValue":0,"rate":1.0E-5,"small":0,"text":"q\"\\\n\u0001ü/"}"#
        )
    );
    assert_eq!(from_slice::<Sample>(&to_vec(&sample)).unwrap(), sample);
    assert_eq!(from_slice::<Sample>(&to_pretty(&sample)).unwrap(), sample);
    assert_eq!(
        from_slice::<Sample>(&to_browser_compatible(&sample)).unwrap(),
        sample
    );
}

#[test]
fn browser_compatible_text_is_ascii_with_escaped_slashes() {
    assert_eq!(
        to_browser_compatible(&BTreeMap::from([("ä/b", "😀")])),
        br#"{"\u00E4\/b":"\uD83D\uDE00"}"#
    );
}

#[test]
fn pretty_text_is_laid_out_with_tabs() {
    let value = serde_json::json!({"a": {"b": 1}, "c": [], "d": {}, "e": [1, 2]});
    assert_eq!(
        String::from_utf8(to_pretty(&value)).unwrap(),
        "{\n\t\"a\":{\n\t\t\"b\":1\n\t},\n\t\"c\":[],\n\t\"d\":{},\n\t\"e\":[\n\t\t1,\n\t\t2\n\t]\n}"
    );
}

#[test]
fn doubles_are_written_as_java_does() {
    for (value, text) in [
        (0.0, "0.0"),
        (1.25, "1.25"),
        (100.0, "100.0"),
        (1e-5, "1.0E-5"),
        (1_234_567_890.125, "1.234567890125E9"),
        (1e7, "1.0E7"),
        (f64::NAN, "null"),
        (f64::INFINITY, "null"),
    ] {
        assert_eq!(String::from_utf8(to_vec(&value)).unwrap(), text);
    }
}

#[test]
fn reads_what_java_and_others_write() {
    let expected = Sample {
        by_id: BTreeMap::from([(0, "a:1".into()), (1, "b:2".into())]),
        by_queue: BTreeMap::from([(queue("T", 0), 7)]),
        flag: true,
        list: vec!["x".into()],
        long_value: 1_700_000_000_000,
        maybe: None,
        rate: 0.0,
        small: 7,
        text: "it's".into(),
    };
    for text in [
        // Bare numeric keys, an object as a key, unknown fields with both inside.
        r#"{"byId":{0:"a:1",1:"b:2"},"byQueue":{{"brokerName":"b","queueId":0,"topic":"T"}:7},"flag":true,
            "unknown":{{"a":{0:[1]}}:{2:{}},3:4},"list":["x"],"longValue":1700000000000,"rate":null,"small":7,"text":"it's"}"#,
        // Everything in quotes, a stringified object key, explicit nulls, any order.
        r#"{"text":"it\u0027s","small":"7","rate":"0","maybe":null,"longValue":"1700000000000","list":["x"],
            "flag":"true","byQueue":{"{\"brokerName\":\"b\",\"queueId\":\"0\",\"topic\":\"T\"}":7},"byId":{"0":"a:1","1":"b:2"}}"#,
        // Single quotes, bare field names, a fraction for a long, a trailing comma.
        r#"{byId:{0:'a:1',1:'b:2',},'byQueue':{{'topic':'T','brokerName':'b','queueId':0}:7.0},flag:1,list:['x'],
            longValue:1.7E12,small:7.9,text:'it\'s',rate:NaN}"#,
        // Styled by a C++ library.
        "{\n   \"byId\" : {\n \"0\" : \"a:1\", \"1\" : \"b:2\" },\n \"byQueue\":{\n{\n\"brokerName\" : \"b\",\n\"queueId\" : 0,\n\"topic\" : \"T\"\n} : 7 },\n\"flag\" : true, \"list\" : [ \"x\" ],\"longValue\" : 1700000000000, \"small\":7, \"text\":\"it's\"\n}\n",
    ] {
        assert_eq!(from_str::<Sample>(text).unwrap(), expected, "{text}");
    }
}

#[test]
fn nulls_keep_the_default_of_every_kind_of_field() {
    let text = r#"{"byId":null,"byQueue":null,"flag":null,"list":null,"longValue":null,"maybe":null,"rate":null,"small":null,"text":null}"#;
    assert_eq!(from_str::<Sample>(text).unwrap(), Sample::default());
    assert_eq!(from_str::<Sample>("null").unwrap(), Sample::default());
}

#[test]
fn a_reference_to_another_object_does_no_harm() {
    #[derive(Deserialize)]
    struct Outer {
        second: Sample,
    }
    let outer: Outer = from_str(r#"{"first":{"small":1},"second":{"$ref":"$.first"}}"#).unwrap();
    assert_eq!(outer.second, Sample::default());
}

#[test]
fn enums_are_read_by_name_or_ordinal() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    enum Model {
        Broadcasting,
        Clustering,
    }
    assert_eq!(
        from_str::<Model>("\"CLUSTERING\"").unwrap(),
        Model::Clustering
    );
    assert_eq!(from_str::<Model>("0").unwrap(), Model::Broadcasting);
    assert!(from_str::<Model>("7").is_err());
}

#[test]
fn any_value_can_be_read_without_knowing_its_type() {
    let value: Value = from_str(r#"{"a":[1,-2,1.5,true,null,"x"],"b":{0:'y'}}"#).unwrap();
    assert_eq!(
        value,
        serde_json::json!({"a": [1, -2, 1.5, true, null, "x"], "b": {"0": "y"}})
    );
}

#[test]
fn escapes_of_all_kinds_are_resolved() {
    let text: String = from_str(r#""\u00e4\uD83D\uDE00\uD83Dx\/\x41\b""#).unwrap();
    assert_eq!(text, "ä😀\u{fffd}xA\u{8}".replacen("xA", "x/A", 1));
}

#[test]
fn bytes_that_are_not_utf8_are_replaced() {
    assert_eq!(from_slice::<String>(b"\"a\xffb\"").unwrap(), "a\u{fffd}b");
}

#[test]
fn malformed_text_is_an_error() {
    for text in [
        "",
        " ",
        "{",
        "}",
        "[",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "[1 2]",
        "\"",
        "\"\\",
        "\"\\u12",
        "\"\\u+123\"",
        "\"\\q\"",
        "{}}",
        "{:1}",
        "{{}",
        "{\"list\":{}}",
        "{\"small\":4294967296}",
        "{\"small\":\"x\"}",
        "{\"longValue\":1e30}",
        "{\"flag\":\"maybe\"}",
        "{\"text\":{}}",
        "{\"byQueue\":{\"x\":1}}",
        "ä",
        "{ä:1",
        "\u{0}",
    ] {
        assert!(from_str::<Sample>(text).is_err(), "{text}");
        let _ = from_str::<Value>(text);
    }
}

#[test]
fn depth_is_bounded_also_in_what_is_skipped() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("{", "}")] {
        let deep = open.repeat(100_000);
        assert!(from_str::<Value>(&deep).is_err());
        assert!(from_str::<Sample>(&format!("{{\"unknown\":{deep}")).is_err());
        let fits = format!(
            "{{\"unknown\":{}1{}}}",
            "[".repeat(DEPTH_MAX as usize - 1),
            "]".repeat(DEPTH_MAX as usize - 1)
        );
        assert!(from_str::<Sample>(&fits).is_ok(), "{open}{close}");
    }
}

#[test]
fn errors_say_where() {
    let error = from_str::<Sample>(r#"{"small":1,"flag":[]}"#).unwrap_err();
    assert_eq!(error.at(), 18);
    assert_eq!(error.to_string(), "expected a value at byte 18");
}

proptest::proptest! {
    #[test]
    fn random_text_never_panics(text in "[\\{\\}\\[\\]:,\"'\\\\u0-9a-zä. ]{0,60}") {
        let _ = from_str::<Value>(&text);
        let _ = from_str::<Sample>(&text);
    }

    #[test]
    fn text_survives(text in "\\PC*", other in proptest::arbitrary::any::<String>()) {
        let value = BTreeMap::from([(text, other)]);
        proptest::prop_assert_eq!(&from_slice::<BTreeMap<String, String>>(&to_vec(&value)).unwrap(), &value);
        proptest::prop_assert_eq!(&from_slice::<BTreeMap<String, String>>(&to_browser_compatible(&value)).unwrap(), &value);
        proptest::prop_assert_eq!(&serde_json::from_slice::<BTreeMap<String, String>>(&to_pretty(&value)).unwrap(), &value);
    }
}
