// SPDX-License-Identifier: Apache-2.0
//! Keys of what the broker tells of itself, in its log and over HTTP (`BrokerConfig`, `MetricsExporterType`).

use std::net::{IpAddr, SocketAddr};

use aerobee_daemon::{config, config_enum, logging::Levels};

use crate::{config::Keys, error::StartError};

config_enum! {
    /// How metrics leave the broker.
    pub enum Exporter {
        /// They do not, but for `httpListenAddress`.
        Disable = "DISABLE",
        /// Pushed with OTLP over gRPC; not here.
        OtlpGrpc = "OTLP_GRPC",
        /// Scraped by Prometheus.
        Prometheus = "PROM",
        /// Written into the log; not here.
        Log = "LOG",
    }
}

config! {
    /// What is told in the log and over HTTP.
    pub struct MetricsKeys {
        /// Where `/livez`, `/readyz` and `/metrics` are served, ADDRESS:PORT; empty for nowhere.
        /// Ours.
        "httpListenAddress" => http_listen_address: Option<SocketAddr> = None,
        /// What is logged, instead of what the flag says. Ours.
        "logLevel" => log_level: Option<Levels> = None,
        /// `PROM` serves the metrics on `metricsPromExporterPort`; of the others there is none here.
        "metricsExporterType" => metrics_exporter_type: Exporter = Exporter::Disable,
        /// Port of the metrics with `metricsExporterType=PROM`.
        "metricsPromExporterPort" => metrics_prom_exporter_port: u16 = 5557,
        /// Address of the metrics with `metricsExporterType=PROM`; empty is `brokerIP1`.
        "metricsPromExporterHost" => metrics_prom_exporter_host: String = String::new(),
        /// Labels that every metric gets: `name:value,name:value`.
        "metricsLabel" => metrics_label: String = String::new(),
        /// Most series of one metric.
        "metricsOtelCardinalityLimit" => metrics_otel_cardinality_limit: i32 [1..=10_000_000] = 50_000,
        /// Whether there are metrics of the broker as a whole.
        "enableStatsMetrics" => enable_stats_metrics: bool = true,
        /// Whether there are metrics of messages in and out.
        "enableRequestMetrics" => enable_request_metrics: bool = true,
        /// Whether there are metrics of connected clients.
        "enableConnectionMetrics" => enable_connection_metrics: bool = true,
        /// Whether there are metrics of how far groups are behind.
        "enableLagAndDlqMetrics" => enable_lag_and_dlq_metrics: bool = true,
        /// Whether there are metrics of transactions.
        "enableTransactionMetrics" => enable_transaction_metrics: bool = true,
        /// Whether there are metrics of requests.
        "enableRemotingMetrics" => enable_remoting_metrics: bool = true,
        /// Whether there are metrics of the store.
        "enableMessageStoreMetrics" => enable_message_store_metrics: bool = true,
        /// Whether there are metrics of popping.
        "enablePopMetrics" => enable_pop_metrics: bool = true,
    }
}

impl MetricsKeys {
    /// The labels of `metricsLabel`; parts without a name and a value are left out.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let parts = self.metrics_label.split(',');
        parts
            .filter_map(|part| part.trim().split_once(':'))
            .filter(|(name, value)| is_label(name) && !value.is_empty())
    }
}

/// Whether Prometheus takes a text as the name of a label.
fn is_label(name: &str) -> bool {
    let mut letters = name.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

impl Keys {
    /// Where HTTP is to be served as these keys say: with health, and with metrics alone as Apache's
    /// exporter does.
    ///
    /// # Errors
    /// An address is none.
    pub fn http_addresses(&self) -> Result<(Option<SocketAddr>, Option<SocketAddr>), StartError> {
        let keys = &self.metrics;
        let exporter = match keys.metrics_exporter_type {
            Exporter::Prometheus => {
                let host = match keys.metrics_prom_exporter_host.trim() {
                    "" => self.broker.broker_ip1.trim(),
                    host => host,
                };
                let ip: IpAddr = host.parse().map_err(|_| StartError::ExporterHost {
                    value: host.to_owned(),
                })?;
                Some(SocketAddr::new(ip, keys.metrics_prom_exporter_port))
            }
            Exporter::Disable => None,
            Exporter::OtlpGrpc | Exporter::Log => {
                tracing::warn!(
                    "metricsExporterType: metrics are scraped here, not pushed or logged; set it to PROM, or set httpListenAddress and scrape /metrics"
                );
                None
            }
        };
        Ok((keys.http_listen_address, exporter))
    }
}

#[cfg(test)]
mod tests {
    use aerobee_daemon::Properties;

    use crate::config::Config;

    fn config(text: &str) -> Config {
        let mut config = Config::default();
        let report = config.apply(&Properties::parse(text).unwrap());
        report.into_result().unwrap();
        config
    }

    #[test]
    fn apaches_keys_open_apaches_port() {
        let config = config("metricsExporterType=PROM\nbrokerIP1=127.0.0.1");
        let (own, exporter) = config.http_addresses().unwrap();
        assert_eq!(own, None);
        assert_eq!(exporter, Some("127.0.0.1:5557".parse().unwrap()));
    }

    #[test]
    fn nothing_listens_unless_asked() {
        assert_eq!(Config::default().http_addresses().unwrap(), (None, None));
        let config = config("httpListenAddress=127.0.0.1:0");
        assert!(config.http_addresses().unwrap().0.is_some());
    }

    #[test]
    fn labels_are_those_that_prometheus_takes() {
        let config = config("metricsLabel=zone:a, rack:7,9x:1,nothing,empty:");
        let labels: Vec<_> = config.metrics.labels().collect();
        assert_eq!(labels, [("zone", "a"), ("rack", "7")]);
    }
}
