/** How finely a file's ctime tells one change from the next. */

/** Two changes within so many milliseconds may get equal ctimes: twice what it is on kernels before 6.13. */
export const CTIME_GRANULE_MS = 20
/** The same, where the file system keeps seconds, or every other one (ext3, small inodes of ext4, FAT): every ctime ends in zeros there. */
const COARSE_GRANULE_MS = 2_000

/** Whether a change from `nowMs` on, of the clock that stamps files, gives another ctime than this one, which has `nanoseconds` within its second. */
export function isCtimeOver(ctimeMs: number, nanoseconds: number, nowMs: number): boolean {
  return nowMs - ctimeMs >= (nanoseconds === 0 ? COARSE_GRANULE_MS : CTIME_GRANULE_MS)
}
