// SPDX-License-Identifier: Apache-2.0
//! Users and access lists: codes 3001 to 3010. Apache: `AdminBrokerProcessor.createUser` and those that
//! follow it.
//!
//! Without authentication everybody may change them, as with Apache: that is how the first ones are made.
//! With it, what concerns super users is for super users, and nobody else is told a password.

use std::sync::Arc;

use aerobee_auth::{
    authenticate,
    guard::Guard,
    policy::PolicyType,
    tables::{ChangeError, Tables, user_of},
    user::{UserChange, UserStatus, UserType},
};
use aerobee_remoting::{
    Command, Reply, ResponseCode,
    body::auth::{Acl, User},
    call::Call,
    fastjson,
    header::auth::{DeleteAcl, ListAcls, ListUsers, Subject, UserName},
};

use super::Refusal;

/// Shows and changes users and access lists.
pub(crate) struct AuthAdmin {
    pub(crate) tables: Arc<Tables>,
    /// Whether whoever asks has been asked who he is.
    pub(crate) guarded: bool,
}

impl AuthAdmin {
    /// Whether whoever asks may do what is for super users.
    fn is_super(&self, command: &Command<'_>, reply: &Reply<'_>) -> bool {
        let name = Guard::claimed(command);
        if reply.is_local() || !self.guarded && name.is_empty() {
            return true;
        }
        let Some(account) = self.tables.account(name) else {
            return false;
        };
        let user = account.user();
        // White lists may have let it in unseen.
        let proven = !self.guarded
            || user.user_status == UserStatus::Enable && authenticate::is_signed(command, &account);
        proven && user.user_type == UserType::Super
    }

    /// Code 3001.
    pub(crate) fn create_user(&self, call: Call<'_, UserName<'_>>) {
        if let Some((change, is_super, reply)) = self.user(call) {
            if change.user_type == Some(UserType::Super) && !is_super {
                return only_supers("create").answer(reply);
            }
            self.change(reply, move |tables| tables.create_user(change));
        }
    }

    /// Code 3002.
    pub(crate) fn update_user(&self, call: Call<'_, UserName<'_>>) {
        if let Some((change, is_super, reply)) = self.user(call) {
            if change.user_type == Some(UserType::Super) && !is_super {
                return only_supers("update").answer(reply);
            }
            if !is_super && self.is_of_super(&change.username) {
                return self.refuse_supers(reply);
            }
            self.change(reply, move |tables| tables.update_user(change));
        }
    }

    /// Code 3003.
    pub(crate) fn delete_user(&self, call: Call<'_, UserName<'_>>) {
        let Call {
            request,
            command,
            reply,
            ..
        } = call;
        if request.username.trim().is_empty() {
            return reply.fail(ResponseCode::NO_PERMISSION, "username can not be blank");
        }
        if !self.is_super(command, &reply) && self.is_of_super(request.username) {
            return self.refuse_supers(reply);
        }
        let username = request.username.to_owned();
        self.change(reply, move |tables| tables.delete_user(&username));
    }

    /// Code 3004; a user that is not there is a success without a body.
    pub(crate) fn get_user(&self, call: Call<'_, UserName<'_>>) {
        let Call {
            request,
            command,
            reply,
            ..
        } = call;
        if request.username.trim().is_empty() {
            return blank().answer(reply);
        }
        let with_password = self.is_super(command, &reply);
        match self.tables.account(request.username) {
            Some(account) => reply.body(&fastjson::to_vec(&account.user().told(with_password))),
            None => reply.ok(),
        }
    }

    /// Code 3005.
    pub(crate) fn list_users(&self, call: Call<'_, ListUsers<'_>>) {
        let Call {
            request,
            command,
            reply,
            ..
        } = call;
        let with_passwords = self.is_super(command, &reply);
        let users = self.tables.users(request.filter, with_passwords);
        if users.is_empty() {
            return reply.ok();
        }
        reply.body(&fastjson::to_vec(&users));
    }

    /// Codes 3006 and 3007, which are the same with Apache: both add and replace.
    pub(crate) fn put_acl(&self, call: Call<'_, Subject<'_>>) {
        let Call {
            request,
            body,
            reply,
            ..
        } = call;
        let acl: Acl = match fastjson::from_slice(body) {
            Ok(acl) => acl,
            Err(error) => return reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        if acl.policies.is_empty() {
            return reply.fail(ResponseCode::SYSTEM_ERROR, "The body of acl is null");
        }
        // As with Apache, what stands in the body goes before the header, if it is a subject.
        let in_body = acl.subject.as_deref();
        let subject = in_body
            .filter(|subject| user_of(subject).is_ok())
            .unwrap_or(request.subject)
            .to_owned();
        self.change(reply, move |tables| tables.put_acl(&subject, &acl));
    }

    /// Code 3008.
    pub(crate) fn delete_acl(&self, call: Call<'_, DeleteAcl<'_>>) {
        let Call { request, reply, .. } = call;
        let subject = request.subject.to_owned();
        let kind = request.policy_type.and_then(PolicyType::from_name);
        let resource = request.resource.map(str::to_owned);
        self.change(reply, move |tables| {
            tables.delete_acl(&subject, kind, resource.as_deref())
        });
    }

    /// Code 3009; a user without a list is a success without a body.
    pub(crate) fn get_acl(&self, call: Call<'_, Subject<'_>>) {
        match self.tables.acl(call.request.subject) {
            Ok(Some(acl)) => call.reply.body(&fastjson::to_vec(&acl)),
            Ok(None) => call.reply.ok(),
            Err(error) => refusal(&error).answer(call.reply),
        }
    }

    /// Code 3010.
    pub(crate) fn list_acls(&self, call: Call<'_, ListAcls<'_>>) {
        let Call { request, reply, .. } = call;
        let acls = self
            .tables
            .acls(request.subject_filter, request.resource_filter);
        if acls.is_empty() {
            return reply.ok();
        }
        reply.body(&fastjson::to_vec(&acls));
    }

    /// What a request says of a user, and whether a super user says so; a request that says too little is
    /// answered here.
    fn user<'t>(&self, call: Call<'t, UserName<'_>>) -> Option<(UserChange, bool, Reply<'t>)> {
        let Call {
            request,
            body,
            command,
            reply,
        } = call;
        if request.username.is_empty() {
            blank().answer(reply);
            return None;
        }
        match fastjson::from_slice::<User>(body) {
            Ok(told) => {
                let is_super = self.is_super(command, &reply);
                Some((UserChange::of(request.username, told), is_super, reply))
            }
            Err(error) => {
                reply.fail(ResponseCode::SYSTEM_ERROR, error);
                None
            }
        }
    }

    fn is_of_super(&self, username: &str) -> bool {
        let account = self.tables.account(username);
        account.is_some_and(|account| account.user().user_type == UserType::Super)
    }

    fn refuse_supers(&self, reply: Reply<'_>) {
        let Refusal { remark, .. } = only_supers("update");
        reply.fail(ResponseCode::NO_PERMISSION, remark);
    }

    /// Makes a change on a thread that may wait for the disk.
    fn change(
        &self,
        reply: Reply<'_>,
        change: impl FnOnce(&Tables) -> Result<(), ChangeError> + Send + 'static,
    ) {
        let (tables, reply) = (Arc::clone(&self.tables), reply.defer());
        tokio::task::spawn_blocking(move || match change(&tables) {
            Ok(()) => reply.ok(),
            Err(error) => refusal(&error).answer(reply),
        });
    }
}

fn blank() -> Refusal {
    Refusal::new(ResponseCode::INVALID_PARAMETER, &"The username is blank")
}

fn only_supers(what: &str) -> Refusal {
    let remark = format!("The super user can only be {what} by super user");
    Refusal::new(ResponseCode::SYSTEM_ERROR, &remark)
}

fn refusal(error: &ChangeError) -> Refusal {
    let code = match error {
        ChangeError::Refused(_) => ResponseCode::NO_PERMISSION,
        ChangeError::Persist(_) => ResponseCode::SYSTEM_ERROR,
    };
    Refusal::new(code, error)
}
