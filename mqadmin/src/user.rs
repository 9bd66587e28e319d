// SPDX-License-Identifier: Apache-2.0
//! Users of brokers.

use aerobee_remoting::{
    RequestCode,
    body::auth::User,
    fastjson,
    header::auth::{ListUsers, UserName},
};
use clap::Args;

use crate::{
    admin::{self, Admin, PATIENCE},
    cli::Command,
    error::Error,
    out::{Out, Text, done, line},
    target::{Target, checked},
};

async fn put(admin: &Admin, address: &str, request: RequestCode, user: &User) -> Result<(), Error> {
    let header = UserName {
        username: user.username.as_deref().unwrap_or_default(),
    };
    let body = fastjson::to_vec(user);
    admin
        .ask(address, request, &header, &body, PATIENCE)
        .await?;
    Ok(())
}

async fn get(admin: &Admin, address: &str, username: &str) -> Result<Option<User>, Error> {
    let request = RequestCode::AUTH_GET_USER;
    let answer = admin
        .ask(address, request, &UserName { username }, &[], PATIENCE)
        .await?;
    if answer.body.is_empty() {
        return Ok(None);
    }
    admin::body(address, request, &answer).map(Some)
}

async fn list(admin: &Admin, address: &str, filter: Option<&str>) -> Result<Vec<User>, Error> {
    let request = RequestCode::AUTH_LIST_USER;
    let answer = admin
        .ask(address, request, &ListUsers { filter }, &[], PATIENCE)
        .await?;
    if answer.body.is_empty() {
        return Ok(Vec::new());
    }
    admin::body(address, request, &answer)
}

fn print(text: &mut Text, users: &[User]) {
    if users.is_empty() {
        return;
    }
    line!(
        text,
        "{:<16}  {:<22}  {:<22}  {:<22}",
        "#UserName",
        "#Password",
        "#UserType",
        "#UserStatus"
    );
    let cell = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    for user in users {
        line!(
            text,
            "{:<16}  {:<22}  {:<22}  {:<22}",
            cell(&user.username),
            cell(&user.password),
            cell(&user.user_type),
            cell(&user.user_status)
        );
    }
}

/// createUser
#[derive(Debug, Args)]
pub(crate) struct CreateUser {
    #[command(flatten)]
    target: Target,
    /// Name of the user
    #[arg(short = 'u', long)]
    username: String,
    /// The password
    #[arg(short = 'p', long, allow_hyphen_values = true)]
    password: String,
    /// Super or Normal
    #[arg(short = 't', long = "userType", ignore_case = true, value_parser = ["Super", "Normal"])]
    user_type: Option<String>,
}

impl Command for CreateUser {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let user = User {
            username: Some(self.username.clone()),
            password: Some(self.password.clone()),
            user_type: self.user_type.clone(),
            user_status: None,
        };
        for address in self.target.all(admin).await? {
            put(admin, &address, RequestCode::AUTH_CREATE_USER, &user).await?;
            done!(out, "create user to {address} success.");
        }
        Ok(())
    }
}

/// What of a user changes: one of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Change {
    /// The new password
    #[arg(short = 'p', long, allow_hyphen_values = true)]
    password: Option<String>,
    /// Super or Normal
    #[arg(short = 't', long = "userType", ignore_case = true, value_parser = ["Super", "Normal"])]
    user_type: Option<String>,
    /// enable or disable
    #[arg(short = 's', long = "userStatus", ignore_case = true, value_parser = ["enable", "disable"])]
    user_status: Option<String>,
}

/// updateUser
#[derive(Debug, Args)]
pub(crate) struct UpdateUser {
    #[command(flatten)]
    target: Target,
    /// Name of the user
    #[arg(short = 'u', long)]
    username: String,
    #[command(flatten)]
    change: Change,
}

impl Command for UpdateUser {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let user = User {
            username: Some(self.username.clone()),
            password: self.change.password.clone(),
            user_type: self.change.user_type.clone(),
            user_status: self.change.user_status.clone(),
        };
        for address in self.target.all(admin).await? {
            put(admin, &address, RequestCode::AUTH_UPDATE_USER, &user).await?;
            done!(out, "update user to {address} success.");
        }
        Ok(())
    }
}

/// deleteUser
#[derive(Debug, Args)]
pub(crate) struct DeleteUser {
    #[command(flatten)]
    target: Target,
    /// Name of the user
    #[arg(short = 'u', long)]
    username: String,
}

impl Command for DeleteUser {
    fn would(&self) -> String {
        format!("User {} will be deleted.", self.username)
    }

    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let header = UserName {
            username: &self.username,
        };
        for address in self.target.all(admin).await? {
            admin
                .ask(
                    &address,
                    RequestCode::AUTH_DELETE_USER,
                    &header,
                    &[],
                    PATIENCE,
                )
                .await?;
            done!(out, "delete user to {address} success.");
        }
        Ok(())
    }
}

/// getUser
#[derive(Debug, Args)]
pub(crate) struct GetUser {
    #[command(flatten)]
    target: Target,
    /// Name of the user
    #[arg(short = 'u', long)]
    username: String,
}

impl Command for GetUser {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let mut found = Vec::new();
        for address in self.target.masters(admin).await? {
            if let Some(user) = get(admin, &address, &self.username).await? {
                found.push(user);
                break;
            }
        }
        out.show(&found, |text| print(text, &found))?;
        Ok(())
    }
}

/// listUser
#[derive(Debug, Args)]
pub(crate) struct ListUser {
    #[command(flatten)]
    target: Target,
    /// Text that the names hold
    #[arg(short = 'f', long)]
    filter: Option<String>,
}

impl Command for ListUser {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let mut found = (String::new(), Vec::new());
        for address in self.target.masters(admin).await? {
            let users = list(admin, &address, self.filter.as_deref()).await?;
            if !users.is_empty() {
                found = (address, users);
                break;
            }
        }
        let (address, users) = found;
        out.show(&users, |text| {
            print(text, &users);
            if self.target.broker_addr.is_none() && !users.is_empty() {
                line!(text, "get user from {address} success.");
            }
        })?;
        Ok(())
    }
}

/// copyUser
#[derive(Debug, Args)]
pub(crate) struct CopyUser {
    /// Broker to read from
    #[arg(short = 'f', long = "fromBroker", value_name = "HOST:PORT")]
    from_broker: String,
    /// Broker to write to
    #[arg(short = 't', long = "toBroker", value_name = "HOST:PORT")]
    to_broker: String,
    /// Names of users, separated by commas [else: all]
    #[arg(short = 'u', long, value_delimiter = ',')]
    usernames: Vec<String>,
}

impl Command for CopyUser {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let (from, to) = (checked(&self.from_broker)?, checked(&self.to_broker)?);
        let mut users = Vec::new();
        if self.usernames.is_empty() {
            users = list(admin, &from, None).await?;
        }
        for name in &self.usernames {
            users.extend(get(admin, &from, name).await?);
        }
        for user in &users {
            let name = user.username.as_deref().unwrap_or_default();
            let request = match get(admin, &to, name).await? {
                Some(_) => RequestCode::AUTH_UPDATE_USER,
                None => RequestCode::AUTH_CREATE_USER,
            };
            put(admin, &to, request, user).await?;
            done!(out, "copy user of {name} from {from} to {to} success.");
        }
        Ok(())
    }
}
