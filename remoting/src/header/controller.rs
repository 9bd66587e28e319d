// SPDX-License-Identifier: Apache-2.0
//! Controllers, as admin tools ask them: codes 1002, 1005, 1011.

use crate::Header;

/// Who leads the controllers. Apache: `GetMetaDataResponseHeader`.
#[derive(Debug, Clone, Default, Header)]
pub struct ControllerMetadataReply<'a> {
    /// Name of the group of controllers.
    pub group: Option<&'a str>,
    /// Id of the one that leads.
    pub controller_leader_id: Option<&'a str>,
    /// Address of the one that leads.
    pub controller_leader_address: Option<&'a str>,
    /// Whether the one that was asked leads.
    #[field(default)]
    pub is_leader: bool,
    /// All of them, separated by `;`.
    pub peers: Option<&'a str>,
}

/// Has a master elected. Apache: `ElectMasterRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = CONTROLLER_ELECT_MASTER)]
pub struct ElectMaster<'a> {
    /// The cluster.
    pub cluster_name: &'a str,
    /// The name that the brokers share.
    pub broker_name: &'a str,
    /// Id of the broker that is to be master.
    pub broker_id: i64,
    /// Whether just this one may be elected.
    pub designate_elect: bool,
    /// When it was asked, ms since 1970.
    pub invoke_time: Option<i64>,
}

/// The master that was elected. Apache: `ElectMasterResponseHeader`.
#[derive(Debug, Clone, Default, Header)]
pub struct ElectMasterReply<'a> {
    /// Its id.
    pub master_broker_id: Option<i64>,
    /// Its address.
    pub master_address: Option<&'a str>,
    /// Its epoch.
    pub master_epoch: Option<i32>,
    /// Epoch of the set of those in sync.
    pub sync_state_set_epoch: Option<i32>,
}

/// Has a controller forget brokers. Apache: `CleanControllerBrokerDataRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = CLEAN_BROKER_DATA)]
pub struct CleanBrokerData<'a> {
    /// The cluster.
    pub cluster_name: Option<&'a str>,
    /// The name that the brokers share.
    pub broker_name: &'a str,
    /// Their ids, separated by `;`; all when missing.
    pub broker_controller_ids_to_clean: Option<&'a str>,
    /// Whether those that are alive are forgotten too.
    #[field(name = "isCleanLivingBroker")]
    pub clean_living_broker: bool,
    /// When it was asked, ms since 1970.
    pub invoke_time: Option<i64>,
}
