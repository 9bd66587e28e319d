// SPDX-License-Identifier: Apache-2.0
//! What requests are signed with, for servers with access lists.

use std::sync::Arc;

use aerobee_auth::sign::Credentials;
use aerobee_daemon::flags::rocketmq_home;
use aerobee_remoting::client::Signer;

use crate::error::Error;

/// The keys of `conf/tools.yml` under `ROCKETMQ_HOME`, where Apache's tools have them; none without such a
/// file.
///
/// # Errors
/// The file cannot be read, or lacks one of the keys.
pub(crate) fn find() -> Result<Option<Arc<dyn Signer>>, Error> {
    let Some(path) = rocketmq_home().map(|home| home.join("conf/tools.yml")) else {
        return Ok(None);
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let credentials = Credentials::from_yaml(&text, &path);
            let credentials = credentials.map_err(|error| Error::NotFound(error.to_string()))?;
            Ok(Some(Arc::new(credentials)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { path, source }),
    }
}
