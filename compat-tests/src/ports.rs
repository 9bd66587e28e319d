// SPDX-License-Identifier: Apache-2.0

use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU16, Ordering},
};

use crate::error::{Error, Result, Trying};

/// Below the range from which Linux takes the ports of outgoing connections, so that none of these becomes one while
/// its server is down.
const FIRST: u16 = 20_000;
const LAST: u16 = 30_000;
const WIDTH: u16 = 10;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// Ten neighbouring loopback ports for one cluster, held against other test runs by a locked file.
#[derive(Debug)]
pub struct PortBlock {
    base: u16,
    _lock: File,
}

impl PortBlock {
    /// Takes a block of which every port is free.
    pub fn lease() -> Result<Self> {
        let folder = env::temp_dir().join("aerobee-test-ports");
        fs::create_dir_all(&folder).trying(|| format!("make {}", folder.display()))?;
        let blocks = (LAST - FIRST) / WIDTH;
        // Runs begin at different places, so that a port is not used again at once.
        let start = u16::try_from(process::id() % u32::from(blocks))
            .unwrap_or(0)
            .wrapping_mul(7);
        for _ in 0..blocks {
            let number = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % blocks;
            let path = folder.join(format!("{number}.lock"));
            let lock = File::create(&path).trying(|| format!("make {}", path.display()))?;
            let base = FIRST + number * WIDTH;
            if lock.try_lock().is_ok() && all_free(base) {
                return Ok(Self { base, _lock: lock });
            }
        }
        Err(Error::NoPorts {
            first: FIRST,
            last: LAST,
        })
    }

    /// The port of the name server.
    pub fn namesrv(&self) -> u16 {
        self.base
    }

    /// The port of the broker; its fast port is two below, as with Apache's.
    pub fn broker(&self) -> u16 {
        self.base + 5
    }

    /// The port of the proxy.
    pub fn proxy(&self) -> u16 {
        self.base + 1
    }

    /// The port of a broker's metrics.
    pub fn metrics(&self) -> u16 {
        self.base + 7
    }

    /// The proxy's port for remoting clients, where it wants one.
    pub fn proxy_remoting(&self) -> u16 {
        self.base + 2
    }

    /// The port on which a master awaits its replicas.
    pub fn replication(&self) -> u16 {
        self.base + 6
    }
}

fn all_free(base: u16) -> bool {
    let listeners: Vec<_> = (base..base + WIDTH)
        .map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)))
        .collect();
    listeners.iter().all(std::result::Result::is_ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leases_never_overlap() {
        let (one, two) = (PortBlock::lease().unwrap(), PortBlock::lease().unwrap());
        assert!(one.base.abs_diff(two.base) >= WIDTH, "{one:?} {two:?}");
    }

    #[test]
    fn block_with_a_port_in_use_is_passed_over() {
        let block = PortBlock::lease().unwrap();
        assert!(all_free(block.base));
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, block.broker())).unwrap();
        assert!(!all_free(block.base));
    }
}
