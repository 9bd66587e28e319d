// SPDX-License-Identifier: Apache-2.0
//! Users and access lists: codes 3001 to 3010.

use crate::Header;

/// The field in which whoever signs requests names itself: the name of a user.
pub const ACCESS_KEY: &str = "AccessKey";
/// The field of the signature, over all other fields and the body.
pub const SIGNATURE: &str = "Signature";
/// A field that some clouds want beside them; signed like any other, and not looked at.
pub const SECURITY_TOKEN: &str = "SecurityToken";

/// Names a user; the user's data are the body. Apache: `CreateUserRequestHeader`,
/// `UpdateUserRequestHeader`, `DeleteUserRequestHeader`, `GetUserRequestHeader`.
#[derive(Debug, Clone, Header)]
pub struct UserName<'a> {
    /// Name of the user.
    #[field(default)]
    pub username: &'a str,
}

/// Asks for the users whose names hold a text.
#[derive(Debug, Clone, Header)]
#[request(code = AUTH_LIST_USER)]
pub struct ListUsers<'a> {
    /// The text; all users when missing.
    pub filter: Option<&'a str>,
}

/// Names whose access list is meant; the list is the body. Apache: `CreateAclRequestHeader`,
/// `UpdateAclRequestHeader`, `GetAclRequestHeader`.
#[derive(Debug, Clone, Header)]
pub struct Subject<'a> {
    /// `User:name`.
    pub subject: &'a str,
}

/// Deletes an access list, or what it says of one resource.
#[derive(Debug, Clone, Header)]
#[request(code = AUTH_DELETE_ACL)]
pub struct DeleteAcl<'a> {
    /// `User:name`.
    pub subject: &'a str,
    /// `Custom` or `Default`.
    pub policy_type: Option<&'a str>,
    /// The resource, such as `Topic:name`.
    pub resource: Option<&'a str>,
}

/// Asks for access lists.
#[derive(Debug, Clone, Header)]
#[request(code = AUTH_LIST_ACL)]
pub struct ListAcls<'a> {
    /// A text that the subject holds.
    pub subject_filter: Option<&'a str>,
    /// A text that the resource holds.
    pub resource_filter: Option<&'a str>,
}
