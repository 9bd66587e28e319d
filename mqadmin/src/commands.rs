// SPDX-License-Identifier: Apache-2.0
//! All commands, in the order of Apache's list.

use crate::{
    acl, broker, broker_config,
    cli::{Entry, Kind, start, would},
    client, cluster, cold, consumer, container, controller, export, group, ha, lite, namesrv,
    offset, print, probe, progress, query, queue, rocksdb, running, send, static_topic, stats,
    topic, topic_list, trace, user,
};

macro_rules! commands {
    ($($kind:ident $name:literal $type:path, $about:literal, $example:literal;)+) => {
        /// Every command.
        pub(crate) static COMMANDS: &[Entry] = &[$(Entry {
            name: $name,
            about: $about,
            kind: Kind::$kind,
            example: $example,
            flags: <$type as clap::Args>::augment_args,
            run: start::<$type>,
            would: would::<$type>,
        },)+];
    };
}

/// Flags of one dash and two letters, which would be two flags elsewhere: command, flag, long name.
pub(crate) const TWO_LETTERS: &[(&str, &str, &str)] = &[
    ("electMaster", "-bn", "--brokerName"),
    ("cleanBrokerMetadata", "-bn", "--brokerName"),
    ("updateStaticTopic", "-qn", "--totalQueueNum"),
    ("updateStaticTopic", "-mf", "--mapFile"),
    ("updateStaticTopic", "-fr", "--forceReplace"),
    ("remappingStaticTopic", "-mf", "--mapFile"),
    ("remappingStaticTopic", "-fr", "--forceReplace"),
    ("checkRocksdbCqWriteProgress", "-cf", "--checkFrom"),
];

commands! {
    Write "updateTopic" topic::UpdateTopic, "Update or create topic.", "-n localhost:9876 -c DefaultCluster -t Orders -r 8 -w 8";
    Write "updateTopicList" topic::UpdateTopicList, "create or update topic in batch", "-n localhost:9876 -c DefaultCluster -f topics.json";
    Destroy "deleteTopic" topic::DeleteTopic, "Delete topic from broker and NameServer.", "-n localhost:9876 -c DefaultCluster -t Orders";
    Write "updateSubGroup" group::UpdateSubGroup, "Update or create subscription group.", "-n localhost:9876 -c DefaultCluster -g billing -r 16";
    Write "updateSubGroupList" group::UpdateSubGroupList, "Update or create subscription group in batch", "-n localhost:9876 -c DefaultCluster -f groups.json";
    Write "setConsumeMode" group::SetConsumeMode, "Set consume message mode. pull/pop etc.", "-n localhost:9876 -c DefaultCluster -t Orders -g billing -m POP -q 8";
    Destroy "deleteSubGroup" group::DeleteSubGroup, "Delete subscription group from broker.", "-n localhost:9876 -c DefaultCluster -g billing -r true";
    Write "updateBrokerConfig" broker_config::UpdateBrokerConfig, "Update broker's config.", "-b localhost:10911 -k fileReservedTime -v 48";
    Write "updateTopicPerm" topic::UpdateTopicPerm, "Update topic perm.", "-n localhost:9876 -c DefaultCluster -t Orders -p 4";
    Read "topicRoute" topic_list::TopicRoute, "Examine topic route info.", "-n localhost:9876 -t Orders -l";
    Read "topicStatus" topic_list::TopicStatus, "Examine topic Status info.", "-n localhost:9876 -t Orders";
    Read "topicClusterList" topic_list::TopicClusterList, "Get cluster info for topic.", "-n localhost:9876 -t Orders";
    Write "addBroker" container::AddBroker, "Add a broker to specified container.", "-c localhost:10811 -b /etc/rocketmq/broker-b.conf";
    Destroy "removeBroker" container::RemoveBroker, "Remove a broker from specified container.", "-c localhost:10811 -b DefaultCluster:broker-b:0";
    Write "resetMasterFlushOffset" broker::ResetMasterFlushOffset, "Reset master flush offset in slave.", "-b localhost:10911 -o 0";
    Read "brokerStatus" broker::BrokerStatus, "Fetch broker runtime status data.", "-b localhost:10911";
    Write "queryMsgById" query::QueryMsgById, "Query Message by Id.", "-n localhost:9876 -t Orders -i 7F0000010007D8FD1F9B6D06A1DC0000";
    Read "queryMsgByKey" query::QueryMsgByKey, "Query Message by Key.", "-n localhost:9876 -t Orders -k order-4711";
    Write "queryMsgByUniqueKey" query::QueryMsgByUniqueKey, "Query Message by Unique key.", "-n localhost:9876 -t Orders -i 7F0000010007D8FD1F9B6D06A1DC0000";
    Read "queryMsgByOffset" query::QueryMsgByOffset, "Query Message by offset.", "-n localhost:9876 -t Orders -b broker-a -i 0 -o 17";
    Read "queryMsgTraceById" trace::QueryMsgTraceById, "Query a message trace.", "-n localhost:9876 -i 7F0000010007D8FD1F9B6D06A1DC0000";
    Read "printMsg" print::PrintMsg, "Print Message Detail.", "-n localhost:9876 -t Orders -s TagA";
    Read "printMsgByQueue" print::PrintMsgByQueue, "Print Message Detail by queueId.", "-n localhost:9876 -t Orders -a broker-a -i 0 -p true -d true";
    Write "sendMsgStatus" probe::SendMsgStatus, "Send msg to broker.", "-n localhost:9876 -b broker-a -c 10";
    Read "brokerConsumeStats" broker::BrokerConsumeStats, "Fetch broker consume stats data.", "-b localhost:10911 -l 1000";
    Read "producerConnection" client::ProducerConnection, "Query producer's socket connection and client version.", "-n localhost:9876 -g shop -t Orders";
    Read "consumerConnection" client::ConsumerConnection, "Query consumer's socket connection, client version and subscription.", "-n localhost:9876 -g billing";
    Read "consumerProgress" progress::ConsumerProgress, "Query consumer's progress, speed.", "-n localhost:9876 -g billing";
    Read "consumerStatus" running::ConsumerStatus, "Query consumer's internal data structure.", "-n localhost:9876 -g billing";
    Write "cloneGroupOffset" offset::CloneGroupOffset, "Clone offset from other group.", "-n localhost:9876 -s billing -d audit -t Orders";
    Read "producer" client::Producer, "Query producer's instances, connection, status, etc.", "-b localhost:10911";
    Read "clusterList" cluster::ClusterList, "List cluster infos.", "-n localhost:9876";
    Read "topicList" topic_list::TopicList, "Fetch all topic list from name server.", "-n localhost:9876 -c";
    Write "updateKvConfig" namesrv::UpdateKvConfig, "Create or update KV config.", "-n localhost:9876 -s NAMESPACE -k key -v value";
    Write "deleteKvConfig" namesrv::DeleteKvConfig, "Delete KV config.", "-n localhost:9876 -s NAMESPACE -k key";
    Write "wipeWritePerm" namesrv::WipeWritePerm, "Wipe write perm of broker in all name server you defined in the -n param.", "-n localhost:9876 -b broker-a";
    Write "addWritePerm" namesrv::AddWritePerm, "Add write perm of broker in all name server you defined in the -n param.", "-n localhost:9876 -b broker-a";
    Write "resetOffsetByTime" offset::ResetOffsetByTime, "Reset consumer offset by timestamp(without client restart).", "-n localhost:9876 -g billing -t Orders -s 2024-05-01#12:30:00:000";
    Write "skipAccumulatedMessage" offset::SkipAccumulated, "Skip all messages that are accumulated (not consumed) currently.", "-n localhost:9876 -g billing -t Orders";
    Write "updateOrderConf" topic::UpdateOrderConf, "Create or update or delete order conf.", "-n localhost:9876 -t Orders -m put -v broker-a:4;broker-b:4";
    Write "cleanExpiredCQ" broker::CleanExpiredCq, "Clean expired ConsumeQueue on broker.", "-n localhost:9876 -c DefaultCluster";
    Destroy "deleteExpiredCommitLog" broker::DeleteExpiredCommitLog, "Delete expired CommitLog files.", "-n localhost:9876 -c DefaultCluster";
    Destroy "cleanUnusedTopic" broker::CleanUnusedTopic, "Clean unused topic on broker.", "-n localhost:9876 -c DefaultCluster";
    Read "startMonitoring" consumer::StartMonitoring, "Start Monitoring.", "-n localhost:9876";
    Read "statsAll" stats::StatsAll, "Topic and Consumer tps stats.", "-n localhost:9876 -a";
    Read "allocateMQ" topic_list::AllocateMq, "Allocate MQ.", "-n localhost:9876 -t Orders -i 10.0.0.1,10.0.0.2";
    Write "checkMsgSendRT" probe::CheckMsgSendRt, "Check message send response time.", "-n localhost:9876 -t Orders -a 10";
    Write "clusterRT" probe::ClusterRt, "List All clusters Message Send RT.", "-n localhost:9876 -a 10 -i 5";
    Read "getNamesrvConfig" namesrv::GetNamesrvConfig, "Get configs of name server.", "-n localhost:9876";
    Write "updateNamesrvConfig" namesrv::UpdateNamesrvConfig, "Update configs of name server.", "-n localhost:9876 -k orderMessageEnable -v true";
    Read "getBrokerConfig" broker_config::GetBrokerConfig, "Get broker config by cluster or special broker.", "-b localhost:10911";
    Read "getConsumerConfig" group::GetConsumerConfig, "Get consumer config by subscription group name.", "-n localhost:9876 -g billing";
    Read "queryCq" queue::QueryCq, "Query cq command.", "-n localhost:9876 -t Orders -q 0 -i 0 -c 10";
    Write "sendMessage" send::SendMessage, "Send a message.", "-n localhost:9876 -t Orders -p hello -c TagA -k order-4711";
    Read "consumeMessage" print::ConsumeMessage, "Consume message.", "-n localhost:9876 -t Orders -c 10";
    Write "updateStaticTopic" static_topic::UpdateStaticTopic, "Update or create static topic, which has fixed number of queues.", "-n localhost:9876 -c DefaultCluster -t Orders -qn 8";
    Write "remappingStaticTopic" static_topic::RemappingStaticTopic, "Remapping static topic.", "-n localhost:9876 -b broker-a,broker-b -t Orders";
    Read "exportMetadata" export::ExportMetadata, "Export metadata.", "-n localhost:9876 -c DefaultCluster -f /tmp/rocketmq/export";
    Read "exportConfigs" export::ExportConfigs, "Export configs.", "-n localhost:9876 -c DefaultCluster -f /tmp/rocketmq/export";
    Read "exportMetrics" export::ExportMetrics, "Export metrics.", "-n localhost:9876 -c DefaultCluster -f /tmp/rocketmq/export";
    Read "exportMetadataInRocksDB" rocksdb::ExportMetadataInRocksDb, "export RocksDB kv config (topics/subscriptionGroups). Recommend to use [mqadmin rocksDBConfigToJson]", "-p /data/store/config -t topics -j true";
    Write "exportPopRecord" rocksdb::ExportPopRecord, "Export pop consumer record", "-n localhost:9876 -c DefaultCluster -d true";
    Read "haStatus" ha::HaStatus, "Fetch ha runtime status data.", "-b localhost:10911";
    Read "getSyncStateSet" controller::GetSyncStateSet, "Fetch syncStateSet for target brokers.", "-a localhost:9878 -b broker-a";
    Read "getBrokerEpoch" ha::GetBrokerEpoch, "Fetch broker epoch entries.", "-n localhost:9876 -b broker-a";
    Read "getControllerMetaData" controller::GetControllerMetaData, "Get controller cluster's metadata.", "-a localhost:9878";
    Read "getControllerConfig" controller::GetControllerConfig, "Get controller config.", "-a localhost:9878";
    Write "updateControllerConfig" controller::UpdateControllerConfig, "Update controller config.", "-a localhost:9878 -k enableElectUncleanMaster -v false";
    Write "electMaster" controller::ElectMaster, "Re-elect the specified broker as master.", "-a localhost:9878 -b 2 -bn broker-a -c DefaultCluster";
    Destroy "cleanBrokerMetadata" controller::CleanBrokerMetadata, "Clean metadata of broker on controller.", "-a localhost:9878 -bn broker-a -c DefaultCluster -b 1;2";
    Read "dumpCompactionLog" print::DumpCompactionLog, "Parse compaction log to message.", "-f /data/store/compaction/compactionLog/Orders/0/00000000000000000000";
    Read "getColdDataFlowCtrInfo" cold::GetColdDataFlowCtrInfo, "Get cold data flow ctr info.", "-b localhost:10911";
    Write "updateColdDataFlowCtrGroupConfig" cold::UpdateColdDataFlowCtrGroupConfig, "Add or update cold data flow ctr group config.", "-b localhost:10911 -g billing -v 1048576";
    Write "removeColdDataFlowCtrGroupConfig" cold::RemoveColdDataFlowCtrGroupConfig, "Remove consumer from cold ctr config.", "-b localhost:10911 -g billing";
    Write "setCommitLogReadAheadMode" cold::SetCommitLogReadAheadMode, "Set read ahead mode for all commitlog files.", "-b localhost:10911 -m 0";
    Write "createUser" user::CreateUser, "Create user to cluster.", "-n localhost:9876 -c DefaultCluster -u alice -p secret";
    Write "updateUser" user::UpdateUser, "Update user to cluster.", "-n localhost:9876 -c DefaultCluster -u alice -p secret2";
    Destroy "deleteUser" user::DeleteUser, "Delete user from cluster.", "-n localhost:9876 -c DefaultCluster -u alice";
    Read "getUser" user::GetUser, "Get user from cluster.", "-n localhost:9876 -c DefaultCluster -u alice";
    Read "listUser" user::ListUser, "List user from cluster.", "-n localhost:9876 -c DefaultCluster";
    Write "copyUser" user::CopyUser, "Copy user to cluster.", "-f localhost:10911 -t localhost:20911 -u alice";
    Write "createAcl" acl::CreateAcl, "Create acl to cluster.", "-n localhost:9876 -c DefaultCluster -s User:alice -r Topic:* -a Pub,Sub -d Allow";
    Write "updateAcl" acl::UpdateAcl, "Update acl to cluster.", "-n localhost:9876 -c DefaultCluster -s User:alice -r Topic:* -a Pub -d Allow";
    Destroy "deleteAcl" acl::DeleteAcl, "Delete acl from cluster.", "-n localhost:9876 -c DefaultCluster -s User:alice";
    Read "getAcl" acl::GetAcl, "Get acl from cluster.", "-n localhost:9876 -c DefaultCluster -s User:alice";
    Read "listAcl" acl::ListAcl, "List acl from cluster.", "-n localhost:9876 -c DefaultCluster";
    Write "copyAcl" acl::CopyAcl, "Copy acl to cluster.", "-f localhost:10911 -t localhost:20911 -s User:alice";
    Write "rocksDBConfigToJson" rocksdb::RocksDbConfigToJson, "Convert RocksDB kv config (topics/subscriptionGroups/consumerOffsets) to json. [rpc mode] Use [-n, -c, -b, -t] to send Request to broker ( version >= 5.3.2 ) or [local mode] use [-p, -t, -j, -e] to load RocksDB. If -e is provided, tools will export json file instead of std print", "-t topics -b localhost:10911";
    Read "checkRocksdbCqWriteProgress" rocksdb::CheckRocksDbCqWriteProgress, "check if rocksdb cq is same as file cq", "-n localhost:9876 -c DefaultCluster";
    Write "switchTimerEngine" cold::SwitchTimerEngine, "switch the engine of timer message in broker", "-b localhost:10911 -e F";
    Read "getBrokerLiteInfo" lite::GetBrokerLiteInfo, "Get broker lite info.", "-b localhost:10911 -d";
    Read "getParentTopicInfo" lite::GetParentTopicInfo, "Get parent topic info.", "-n localhost:9876 -p Chats";
    Read "getLiteTopicInfo" lite::GetLiteTopicInfo, "Get lite topic info.", "-n localhost:9876 -p Chats -l room-1 -s";
    Read "getLiteClientInfo" lite::GetLiteClientInfo, "Get lite client info.", "-n localhost:9876 -p Chats -g chat -c client-1 -s";
    Read "getLiteGroupInfo" lite::GetLiteGroupInfo, "Get lite group info.", "-n localhost:9876 -p Chats -g chat -k 20";
    Write "triggerLiteDispatch" lite::TriggerLiteDispatch, "Trigger Lite Dispatch.", "-n localhost:9876 -p Chats -g chat";
}
