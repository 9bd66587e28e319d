// SPDX-License-Identifier: Apache-2.0
//! Signatures of requests. Apache: `auth/authentication/builder/DefaultAuthenticationContextBuilder.java`,
//! `chain/DefaultAuthenticationHandler.java`.

use aerobee_remoting::{Command, header::auth as names};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;
use smallvec::SmallVec;
use subtle::ConstantTimeEq as _;

use crate::account::Account;

/// Clients up to this version (V4_9_3) do not sign [`UNSIGNED_FIELD`].
const LAST_UNSIGNED_VERSION: i32 = 399;
/// Added by such clients after signing. Java: `MixAll.UNIQUE_MSG_QUERY_FLAG`.
const UNSIGNED_FIELD: &str = "_UNIQUE_KEY_QUERY";

/// Whether a request carries the signature that the account's key makes of it. Takes as long for a wrong
/// signature as for a right one.
#[must_use]
pub fn is_signed(command: &Command<'_>, account: &Account) -> bool {
    let Some(signature) = command.fields.get(names::SIGNATURE) else {
        return false;
    };
    let Ok(signature) = STANDARD.decode(signature) else {
        return false;
    };
    let mut context = hmac::Context::with_key(account.key());
    for_each_signed(command, |value| context.update(value.as_bytes()));
    context.update(command.body);
    context.sign().as_ref().ct_eq(&signature).into()
}

/// The values in the order of the fields' names. Names are ASCII in every SDK, where the order of bytes is
/// Java's.
fn for_each_signed<'a>(command: &Command<'a>, mut each: impl FnMut(&'a str)) {
    let without_flag = command.version <= LAST_UNSIGNED_VERSION;
    let mut fields: SmallVec<[(&str, &str); 32]> = command
        .fields
        .iter()
        .filter(|(name, _)| *name != names::SIGNATURE && !(without_flag && *name == UNSIGNED_FIELD))
        .collect();
    // Stable: of a name that comes twice the last one counts.
    fields.sort_by_key(|(name, _)| *name);
    for (at, (name, value)) in fields.iter().enumerate() {
        let next = fields.get(at + 1);
        if next.is_none_or(|(next, _)| next != name) {
            each(value);
        }
    }
}

/// What the metadata of a gRPC call say of who makes it:
/// `MQv2-HMAC-SHA1 Credential=NAME/region/service, SignedHeaders=x-mq-date-time, Signature=HEX`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authorization<'a> {
    /// The name before the first slash.
    pub username: Option<&'a str>,
    /// The signature's bytes.
    pub signature: Option<Vec<u8>>,
}

impl<'a> Authorization<'a> {
    /// Reads the header `authorization`.
    ///
    /// # Errors
    /// It is another text; in Apache's words.
    pub fn parse(header: &'a str) -> Result<Self, String> {
        let Some((_, pairs)) = header.split_once(' ') else {
            return Err("authentication header is incorrect.".to_owned());
        };
        let mut found = Self::default();
        for pair in pairs.split(',') {
            let Some((name, value)) = pair.trim().split_once('=') else {
                return Err(
                    "authentication keyValues length is incorrect, actual length=1.".to_owned(),
                );
            };
            match name {
                "Credential" => found.username = value.split('/').next(),
                "Signature" => {
                    let signature = from_hex(value);
                    found.signature =
                        Some(signature.ok_or("create authentication context error.")?);
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// Whether the signature is the one that the account's key makes of `date`, the value of
    /// `x-mq-date-time`, which is all that SDKs sign.
    #[must_use]
    pub fn is_signed(&self, date: &str, account: &Account) -> bool {
        let key = account.key();
        self.signature
            .as_ref()
            .is_some_and(|signature| hmac::verify(key, date.as_bytes(), signature).is_ok())
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use aerobee_remoting::{
        Encoding, Language, OwnedFields, client::Signer as _, header::FieldWriter as _,
    };

    use super::*;
    use crate::{
        sign::Credentials,
        user::{User, UserStatus, UserType},
    };

    fn account(password: &str) -> Account {
        let user = User {
            username: "a".to_owned(),
            password: password.to_owned(),
            user_type: UserType::Normal,
            user_status: UserStatus::Enable,
        };
        Account::new(user, None)
    }

    fn fields(pairs: &[(&str, &str)]) -> OwnedFields {
        let mut fields = OwnedFields::default();
        for (name, value) in pairs {
            fields.pair(name, value);
        }
        fields
    }

    fn command<'a>(fields: &'a OwnedFields, body: &'a [u8], version: i32) -> Command<'a> {
        Command {
            code: 310,
            language: Language::Java,
            version,
            opaque: 0,
            flag: 0,
            remark: "",
            fields: fields.fields(),
            body,
            encoding: Encoding::Json,
        }
    }

    #[test]
    fn a_signature_covers_values_and_body() {
        let keys = Credentials::new("a", "secret", Some("token"));
        let mut signed = fields(&[("topic", "t"), ("queueId", "3"), ("é", "ü")]);
        keys.sign(&mut signed, b"body");
        let account = account("secret");
        assert!(is_signed(&command(&signed, b"body", 500), &account));
        assert!(!is_signed(&command(&signed, b"bodY", 500), &account));
        let signature = signed.fields().get("Signature").unwrap().to_owned();
        for (changed, pairs) in [
            (
                "another value",
                &[("topic", "u"), ("queueId", "3"), ("é", "ü")][..],
            ),
            (
                "one more",
                &[("topic", "t"), ("queueId", "3"), ("é", "ü"), ("x", "y")],
            ),
            ("one less", &[("topic", "t"), ("queueId", "3")]),
        ] {
            let mut other = fields(pairs);
            other.pair("AccessKey", "a");
            other.pair("SecurityToken", "token");
            other.pair("Signature", &signature);
            assert!(
                !is_signed(&command(&other, b"body", 500), &account),
                "{changed}"
            );
        }
    }

    #[test]
    fn the_order_on_the_wire_does_not_matter_and_the_last_of_a_name_counts() {
        let keys = Credentials::new("a", "secret", None);
        let mut signed = fields(&[("b", "2"), ("c", "3"), ("d", "4")]);
        keys.sign(&mut signed, &[]);
        let signature = signed.fields().get("Signature").unwrap();
        let other = fields(&[
            ("Signature", "nonsense"),
            ("Signature", signature),
            ("d", "9"),
            ("d", "4"),
            ("c", "3"),
            ("AccessKey", "a"),
            ("b", "2"),
        ]);
        assert!(is_signed(&command(&other, &[], 500), &account("secret")));
    }

    #[test]
    fn old_clients_add_a_field_after_signing() {
        let keys = Credentials::new("a", "secret", None);
        let mut signed = fields(&[("topic", "t")]);
        keys.sign(&mut signed, &[]);
        signed.pair(UNSIGNED_FIELD, "true");
        let account = account("secret");
        assert!(is_signed(&command(&signed, &[], 399), &account));
        assert!(!is_signed(&command(&signed, &[], 400), &account));
    }

    #[test]
    fn what_is_no_signature_is_none() {
        let account = account("secret");
        for signature in ["", "AAAA", "no base64!", "vIUqXZlj1CFmAmuZaQ1kmmLK7pE"] {
            let fields = fields(&[("AccessKey", "a"), ("Signature", signature)]);
            assert!(!is_signed(&command(&fields, &[], 500), &account));
        }
        let unsigned = fields(&[("AccessKey", "a")]);
        assert!(!is_signed(&command(&unsigned, &[], 500), &account));
    }

    /// The vector is RFC 2202's second of HMAC-SHA1.
    #[test]
    fn the_header_of_grpc_is_read_as_sdks_write_it() {
        let account = account("Jefe");
        let date = "what do ya want for nothing?";
        for (name, credential) in [("a", "a"), ("a", "a//Rocketmq"), ("a", "a/cn/RocketMQ")] {
            for signature in [
                "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
                "EFFCDF6AE5EB2FA2D27416D5F184DF9C259A7C79",
            ] {
                let header = format!(
                    "MQv2-HMAC-SHA1 Credential={credential}, SignedHeaders=x-mq-date-time, Signature={signature}"
                );
                let read = Authorization::parse(&header).unwrap();
                assert_eq!(read.username, Some(name));
                assert!(read.is_signed(date, &account));
                assert!(!read.is_signed("another", &account));
            }
        }
        for (bad, words) in [
            ("nothing", "authentication header is incorrect."),
            (
                "MQv2 Credential",
                "authentication keyValues length is incorrect, actual length=1.",
            ),
            ("MQv2 Signature=0", "create authentication context error."),
            ("MQv2 Signature=xy", "create authentication context error."),
        ] {
            assert_eq!(Authorization::parse(bad).unwrap_err(), words);
        }
    }
}
