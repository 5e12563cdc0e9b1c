//! How the process keeps memory between training steps.
//! Owns one setting of glibc's allocator, for the whole process; never an allocator. The binary calls it once at its start.

/// Makes freed memory stay with the process, so that the steps after the first fault in no new pages: by default glibc
/// maps every large tensor anew and gives its pages back when it is freed. Does nothing where the C library is another.
pub fn keep_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: the call changes three numbers of the allocator and is safe at any time; a refusal changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
        libc::mallopt(libc::M_TOP_PAD, 16 << 20);
    }
}
