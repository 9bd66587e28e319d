// SPDX-License-Identifier: Apache-2.0
//! How the allocator of the C library keeps memory.

/// Blocks from so many bytes on are mapped by themselves, and go back to the system when they are freed.
#[cfg(target_env = "gnu")]
const MAPPED_FROM_BYTES: libc::c_int = 512 << 10;

/// Sees to it that large buffers leave no gaps. Glibc maps large blocks, too, but after the first that is freed it takes
/// blocks of that size from the heap, up to 32 MiB: with 5,000 topics half of the memory of a broker were gaps that the
/// buffers of its registrations had left. Other libraries keep their first threshold.
pub(crate) fn give_back_large_blocks() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(
            unsafe_code,
            reason = "one call of the C library that no safe crate has"
        )]
        // SAFETY: a call with two numbers, before there is another thread. What it refuses changes nothing.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES);
            // Also a threshold that would follow the blocks freed.
            libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * MAPPED_FROM_BYTES);
        }
    }
}
