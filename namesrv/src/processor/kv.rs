// SPDX-License-Identifier: Apache-2.0
//! Key-values: 100, 101, 102, 219.

use std::sync::Arc;

use aerobee_remoting::{
    ResponseCode,
    call::{Call, Deferred},
    fastjson,
    header::route::{DeleteKv, GetKv, GetKvList, KvReply, PutKv},
};

use crate::kv::{Kv, KvError};

/// Shows and changes key-values.
#[derive(Debug)]
pub(crate) struct KvAdmin {
    pub(crate) kv: Arc<Kv>,
}

impl KvAdmin {
    /// Code 100; answered when the value is on the disk.
    pub(crate) fn put(&self, call: Call<'_, PutKv<'_>>) {
        let PutKv {
            namespace: Some(namespace),
            key: Some(key),
            value,
        } = call.request
        else {
            let remark = "namespace or key is null";
            return call.reply.fail(ResponseCode::SYSTEM_ERROR, remark);
        };
        tracing::info!(namespace, key, value, peer = %call.reply.connection().peer(), "key-value set");
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        let value = value.map(str::to_owned);
        let (kv, reply) = (Arc::clone(&self.kv), call.reply.defer());
        tokio::spawn(async move {
            answer(reply, kv.put(&namespace, &key, value.as_deref()).await);
        });
    }

    /// Code 101.
    pub(crate) fn get(&self, call: Call<'_, GetKv<'_>>) {
        let GetKv { namespace, key } = call.request;
        match self.kv.get(namespace, key) {
            Some(value) => call.reply.header(&KvReply {
                value: Some(&value),
            }),
            None => call.reply.fail(
                ResponseCode::QUERY_NOT_FOUND,
                format_args!("No config item, Namespace: {namespace} Key: {key}"),
            ),
        }
    }

    /// Code 102; answered when the key is gone from the disk.
    pub(crate) fn delete(&self, call: Call<'_, DeleteKv<'_>>) {
        let DeleteKv { namespace, key } = call.request;
        tracing::info!(namespace, key, peer = %call.reply.connection().peer(), "key-value deleted");
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        let (kv, reply) = (Arc::clone(&self.kv), call.reply.defer());
        tokio::spawn(async move { answer(reply, kv.delete(&namespace, &key).await) });
    }

    /// Code 219.
    pub(crate) fn list(&self, call: Call<'_, GetKvList<'_>>) {
        let namespace = call.request.namespace;
        match self.kv.namespace(namespace) {
            Some(table) => call.reply.body(&fastjson::to_vec(&table)),
            None => call.reply.fail(
                ResponseCode::QUERY_NOT_FOUND,
                format_args!("No config item, Namespace: {namespace}"),
            ),
        }
    }
}

fn answer(reply: Deferred, changed: Result<(), KvError>) {
    match changed {
        Ok(()) => reply.ok(),
        Err(error) => reply.fail(ResponseCode::SYSTEM_ERROR, error),
    }
}
