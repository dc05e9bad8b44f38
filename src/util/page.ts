/** A page's size in bytes: of the caches here, and of the kernel's page cache on all machines that Samepage runs on. */
export const PAGE_BYTES = 4096
